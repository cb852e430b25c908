"""The interop cases for a grpcio client: exits with 0 if the server behaves as specified.

Usage: interop_client.py PROTO ADDRESS CASE
"""

import importlib
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_tools import protoc

proto, address, case = sys.argv[1:]
PATIENCE_S = 20
SENT = [27182, 8, 1828, 45904]
ANSWERED = [31415, 9, 2653, 58979]
SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
CUSTOM = (("x-grpc-test-echo-initial", "test_initial_metadata_value"), ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"))


def compile_contract(out):
    path = Path(proto)
    if protoc.main(["protoc", f"-I{path.parent}", f"--python_out={out}", f"--grpc_python_out={out}", path.name]) != 0:
        raise SystemExit("protoc failed")
    sys.path.insert(0, out)
    return [importlib.import_module(f"{path.stem}_{part}") for part in ("pb2", "pb2_grpc")]


folder = tempfile.TemporaryDirectory()
pb2, pb2_grpc = compile_contract(folder.name)
channel = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
stub = pb2_grpc.TestServiceStub(channel)


def payload(size):
    return pb2.Payload(body=bytes(size))


def output_request(answer, size):
    return pb2.StreamingOutputCallRequest(
        response_parameters=[pb2.ResponseParameters(size=answer)], payload=payload(size)
    )


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def same(found, wanted):
    if found != wanted:
        raise SystemExit(f"{case}: {found!r} instead of {wanted!r}")


class Conversation:
    """Requests of a stream, given one by one."""

    def __init__(self):
        import queue

        self._queue = queue.Queue()

    def say(self, request):
        self._queue.put(request)

    def end(self):
        self._queue.put(None)

    def __iter__(self):
        return iter(self._queue.get, None)


def empty_unary():
    same(stub.EmptyCall(pb2.Empty(), timeout=PATIENCE_S), pb2.Empty())


def large_unary():
    request = pb2.SimpleRequest(response_size=314159, payload=payload(271828))
    same(stub.UnaryCall(request, timeout=PATIENCE_S).payload.body, bytes(314159))


def client_compressed_unary():
    def ask(expected, compression):
        request = pb2.SimpleRequest(
            expect_compressed=pb2.BoolValue(value=expected), response_size=314159, payload=payload(271828)
        )
        return stub.UnaryCall(request, timeout=PATIENCE_S, compression=compression)

    same(code_of(lambda: ask(True, grpc.Compression.NoCompression)), grpc.StatusCode.INVALID_ARGUMENT)
    same(ask(True, grpc.Compression.Gzip).payload.body, bytes(314159))
    same(ask(False, grpc.Compression.NoCompression).payload.body, bytes(314159))


def client_streaming():
    requests = (pb2.StreamingInputCallRequest(payload=payload(size)) for size in SENT)
    same(stub.StreamingInputCall(requests, timeout=PATIENCE_S).aggregated_payload_size, 74922)


def server_streaming():
    parameters = [pb2.ResponseParameters(size=size) for size in ANSWERED]
    request = pb2.StreamingOutputCallRequest(response_parameters=parameters)
    answers = stub.StreamingOutputCall(request, timeout=PATIENCE_S)
    same([len(answer.payload.body) for answer in answers], ANSWERED)


def ping_pong():
    conversation = Conversation()
    answers = stub.FullDuplexCall(iter(conversation), timeout=PATIENCE_S)
    for size, wanted in zip(SENT, ANSWERED):
        conversation.say(output_request(wanted, size))
        same(len(next(answers).payload.body), wanted)
    conversation.end()
    same(list(answers), [])


def empty_stream():
    same(list(stub.FullDuplexCall(iter(()), timeout=PATIENCE_S)), [])


def cancel_after_begin():
    conversation = Conversation()
    call = stub.StreamingInputCall.future(iter(conversation), timeout=PATIENCE_S)
    call.cancel()
    conversation.end()
    same(call.cancelled(), True)
    same(call.code(), grpc.StatusCode.CANCELLED)


def cancel_after_first_response():
    conversation = Conversation()
    answers = stub.FullDuplexCall(iter(conversation), timeout=PATIENCE_S)
    conversation.say(output_request(ANSWERED[0], SENT[0]))
    next(answers)
    answers.cancel()
    same(code_of(lambda: next(answers)), grpc.StatusCode.CANCELLED)
    conversation.end()


def timeout_on_sleeping_server():
    conversation = Conversation()
    answers = stub.FullDuplexCall(iter(conversation), timeout=0.001)
    conversation.say(pb2.StreamingOutputCallRequest(payload=payload(27182)))
    same(code_of(lambda: next(answers)), grpc.StatusCode.DEADLINE_EXCEEDED)
    conversation.end()


def custom_metadata():
    request = pb2.SimpleRequest(response_size=1, payload=payload(1))
    _, unary = stub.UnaryCall.with_call(request, timeout=PATIENCE_S, metadata=CUSTOM)
    duplex = stub.FullDuplexCall(iter([output_request(1, 1)]), timeout=PATIENCE_S, metadata=CUSTOM)
    same([len(answer.payload.body) for answer in duplex], [1])
    for call in (unary, duplex):
        same([value for key, value in call.initial_metadata() if key == CUSTOM[0][0]], [CUSTOM[0][1]])
        same([value for key, value in call.trailing_metadata() if key == CUSTOM[1][0]], [CUSTOM[1][1]])


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None


def status_code_and_message():
    wanted = pb2.EchoStatus(code=2, message="test status message")
    unary = pb2.SimpleRequest(response_status=wanted)
    duplex = pb2.StreamingOutputCallRequest(response_status=wanted)
    for call in (
        lambda: stub.UnaryCall(unary, timeout=PATIENCE_S),
        lambda: list(stub.FullDuplexCall(iter([duplex]), timeout=PATIENCE_S)),
    ):
        same(status_of(call), (grpc.StatusCode.UNKNOWN, wanted.message))


def special_status_message():
    request = pb2.SimpleRequest(response_status=pb2.EchoStatus(code=2, message=SPECIAL_MESSAGE))
    same(status_of(lambda: stub.UnaryCall(request, timeout=PATIENCE_S)), (grpc.StatusCode.UNKNOWN, SPECIAL_MESSAGE))


def unimplemented_method():
    same(code_of(lambda: stub.UnimplementedCall(pb2.Empty(), timeout=PATIENCE_S)), grpc.StatusCode.UNIMPLEMENTED)


def unimplemented_service():
    other = pb2_grpc.UnimplementedServiceStub(channel)
    same(code_of(lambda: other.UnimplementedCall(pb2.Empty(), timeout=PATIENCE_S)), grpc.StatusCode.UNIMPLEMENTED)


CASES = {
    function.__name__: function
    for function in (
        empty_unary,
        large_unary,
        client_compressed_unary,
        client_streaming,
        server_streaming,
        ping_pong,
        empty_stream,
        cancel_after_begin,
        cancel_after_first_response,
        timeout_on_sleeping_server,
        custom_metadata,
        status_code_and_message,
        special_status_message,
        unimplemented_method,
        unimplemented_service,
    )
}
CASES[case]()
