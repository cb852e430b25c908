"""A client that is not ours: Google's grpcio, with its own status, health and reflection packages.

Driven by grpcio.test.ts: reads one step a line from standard input, answers each with one line of JSON.
Usage: grpcio_client.py ADDRESS PROTO_FOLDER
"""

import importlib
import json
import sys
import tempfile
import threading
import time
from importlib.resources import files

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

SERVICE = "vitserve.v1.ClassificationService"
TIMEOUT_S = 20

address, proto_folder = sys.argv[1:]


def compile_contract():
    """The client's code, made by protoc from the .proto file as any Python user makes it."""
    out = tempfile.TemporaryDirectory()
    well_known = files("grpc_tools") / "_proto"
    includes = [f"-I{proto_folder}", f"-I{well_known}"]
    outputs = [f"--python_out={out.name}", f"--grpc_python_out={out.name}"]
    if protoc.main(["protoc", *includes, *outputs, "vitserve/v1/classification.proto"]) != 0:
        raise SystemExit("protoc failed")
    sys.path.insert(0, out.name)
    modules = [importlib.import_module(f"vitserve.v1.classification_{part}") for part in ("pb2", "pb2_grpc")]
    return out, *modules


folder, pb2, pb2_grpc = compile_contract()
channel = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
stub = pb2_grpc.ClassificationServiceStub(channel)
health = health_pb2_grpc.HealthStub(channel)


def predictions_of(response):
    return [[one.class_index, one.label, one.score] for one in response.predictions]


def classify(image):
    return predictions_of(stub.Classify(pb2.ClassifyRequest(image=image), timeout=TIMEOUT_S))


def embed(image):
    request = pb2.EmbedRequest(image=image, normalize=True)
    return list(stub.Embed(request, timeout=TIMEOUT_S).embedding)


def failure(image):
    """The whole of an error: code, message, details unpacked by their own types, trailers."""
    try:
        classify(image)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        details = {}
        for packed in status.details:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
                if not packed.Is(kind.DESCRIPTOR):
                    continue
                detail = kind()
                packed.Unpack(detail)
                if kind is error_details_pb2.ErrorInfo:
                    details["reason"], details["domain"] = detail.reason, detail.domain
                elif kind is error_details_pb2.BadRequest:
                    details["fields"] = [violation.field for violation in detail.field_violations]
                else:
                    details["retryDelayMs"] = detail.retry_delay.ToMilliseconds()
        trailers = {key: value for key, value in error.trailing_metadata() if isinstance(value, str)}
        return {
            "code": error.code().name,
            "sameMessage": status.message == error.details(),
            "pushback": trailers.get("grpc-retry-pushback-ms"),
            **details,
        }
    return None


def late(image):
    """What a call ends with that has a third of a second and is not answered."""
    try:
        stub.Classify(pb2.ClassifyRequest(image=image), timeout=0.3)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}


def retrying_channel():
    config = json.dumps({"methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": RETRY_POLICY}]})
    return grpc.insecure_channel(address, options=[("grpc.service_config", config)])


def steady(image, seconds, callers):
    """Calls one after the other, from so many callers on one channel with a retry policy, for so long."""
    request = pb2.ClassifyRequest(image=image)
    until = time.monotonic() + seconds
    calls, errors = [0] * callers, []
    with retrying_channel() as retrying:
        stub = pb2_grpc.ClassificationServiceStub(retrying)

        def call(caller):
            while time.monotonic() < until:
                calls[caller] += 1
                try:
                    stub.Classify(request, timeout=TIMEOUT_S)
                except grpc.RpcError as error:
                    errors.append(f"{error.code().name}: {error.details()}")

        threads = [threading.Thread(target=call, args=[caller]) for caller in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"calls": sum(calls), "errors": errors, "version": grpc.__version__}


def retried(image):
    """Through a channel with a retry policy: the library itself has to act on what the server sends."""
    request = pb2.ClassifyRequest(image=image)
    with retrying_channel() as retrying:
        stub = pb2_grpc.ClassificationServiceStub(retrying)
        for calls in range(1, 100):
            try:
                return {"calls": calls, "predictions": predictions_of(stub.Classify(request, timeout=TIMEOUT_S))}
            except grpc.RpcError as error:
                # All attempts of this call were used up before there was a permit.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
    return None


def stream(image):
    requests = [
        pb2.ClassifyStreamRequest(request_id="good", request=pb2.ClassifyRequest(image=image)),
        pb2.ClassifyStreamRequest(request_id="bad", request=pb2.ClassifyRequest(image=b"text")),
    ]
    answers = {}
    for response in stub.ClassifyStream(iter(requests), timeout=TIMEOUT_S):
        kind = response.WhichOneof("result")
        answers[response.request_id] = (
            predictions_of(response.response) if kind == "response" else response.status.code
        )
    return answers


def check(name):
    try:
        response = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    except grpc.RpcError as error:
        return error.code().name


def reflect(image):
    """Links the reflected descriptors in an empty pool and makes a call of nothing but them."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    service = pool.FindServiceByName(SERVICE)
    method = service.FindMethodByName("Classify")
    request = message_factory.GetMessageClass(method.input_type)(image=image, top_k=3)
    call = channel.unary_unary(
        f"/{SERVICE}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    return {
        "services": sorted(database.get_services()),
        "methods": {each.name: [each.client_streaming, each.server_streaming] for each in service.methods},
        "predictions": predictions_of(call(request, timeout=TIMEOUT_S)),
    }


watched = []
watch_ended = threading.Event()


def watch():
    """Begins a Watch and answers with its first status; `watched` tells the rest once it has ended."""
    first = threading.Event()

    def follow():
        try:
            for response in health.Watch(health_pb2.HealthCheckRequest(service=SERVICE)):
                watched.append(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
                first.set()
        except grpc.RpcError:
            pass
        watch_ended.set()

    threading.Thread(target=follow, daemon=True).start()
    first.wait(TIMEOUT_S)
    return watched[:1]


def all_watched():
    watch_ended.wait(TIMEOUT_S)
    return watched


STEPS = {
    "classify": classify,
    "embed": embed,
    "failure": failure,
    "late": late,
    "retried": retried,
    "steady": steady,
    "stream": stream,
    "check": check,
    "reflect": reflect,
    "watch": watch,
    "watched": all_watched,
}

for line in sys.stdin:
    step = json.loads(line)
    arguments = [open(step["image"], "rb").read()] if "image" in step else []
    arguments += step.get("arguments", [])
    print(json.dumps(STEPS[step["step"]](*arguments)), flush=True)
