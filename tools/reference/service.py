"""A plain caller of vitserve for the references: grpcio, with stubs made at run time from the contract in proto/."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import grpc
import numpy as np
from grpc_tools import protoc

PROTO = Path(__file__).parents[2] / "proto"
CONTRACT = "vitserve/v1/classification.proto"
ALL_CLASSES = 2**31 - 1  # top_k above the class count means every class
DEADLINE_SECONDS = 30.0
ATTEMPTS = 200  # refusals of one call in a row before the reference gives up


def make_stubs(proto: Path) -> tuple[ModuleType, ModuleType]:
    """Messages and stubs of the contract. google.rpc comes from googleapis-common-protos, so only our own file is compiled."""
    import google.rpc.status_pb2  # noqa: F401 (fills the descriptor pool)

    with tempfile.TemporaryDirectory() as folder:
        bundled = str(Path(protoc.__file__).parent / "_proto")
        command = ["protoc", f"-I{proto}", f"-I{bundled}", f"--python_out={folder}", f"--grpc_python_out={folder}", CONTRACT]
        if protoc.main(command) != 0:
            raise SystemExit(f"protoc could not compile {proto / CONTRACT}")
        sys.path.insert(0, folder)
        try:
            from vitserve.v1 import classification_pb2, classification_pb2_grpc
        finally:
            sys.path.remove(folder)
    return classification_pb2, classification_pb2_grpc


class Service:
    """A running vitserve. Calls that it refuses for load are made again when it says so (`grpc-retry-pushback-ms`)."""

    def __init__(self, address: str, proto: Path = PROTO, concurrency: int = 16) -> None:
        self.messages, stubs = make_stubs(proto)
        self.channel = grpc.insecure_channel(address)
        grpc.channel_ready_future(self.channel).result(timeout=30)
        self.stub = stubs.ClassificationServiceStub(self.channel)
        self.concurrency = concurrency
        self.refusals = 0  # calls that were refused for load and made again
        self.lock = threading.Lock()

    def labels(self) -> list[str]:
        """The classes of the default model, by index."""
        return list(self.stub.GetModel(self.messages.GetModelRequest(), timeout=DEADLINE_SECONDS).labels)

    def classify(self, image: bytes) -> np.ndarray:
        """Probability of every class, by class index: float32 [classes]."""
        request = self.messages.ClassifyRequest(image=image, top_k=ALL_CLASSES)
        predictions = self.call(self.stub.Classify, request).predictions
        scores = [prediction.score for prediction in predictions]
        if scores != sorted(scores, reverse=True) or {p.class_index for p in predictions} != set(range(len(scores))):
            raise RuntimeError("the predictions are not every class once, best first")
        probabilities = np.empty(len(predictions), np.float32)
        for prediction in predictions:
            probabilities[prediction.class_index] = prediction.score
        return probabilities

    def classify_all(self, images: Iterable[bytes]) -> np.ndarray:
        """Probabilities of many images, `concurrency` calls at a time: float32 [images, classes], in the order given."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            return np.stack(list(pool.map(self.classify, images)))

    def call(self, method: Callable, request: object) -> object:
        for _ in range(ATTEMPTS):
            try:
                return method(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                pause = pushback_seconds(error)
                if pause is None:
                    raise
                with self.lock:
                    self.refusals += 1
                time.sleep(pause)
        raise RuntimeError(f"refused {ATTEMPTS} times in a row")


def pushback_seconds(error: grpc.RpcError) -> float | None:
    """How long the server asks to wait before the next attempt; None where another attempt is not wanted (gRPC proposal A6)."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-retry-pushback-ms":
            return int(value) / 1000 if value.isdigit() else None
    return None
