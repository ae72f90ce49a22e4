"""All that the receiver does with a body, as a fuzzer sees it: any exception is a finding."""

from __future__ import annotations

from collections.abc import Sequence

from joulery.exporters.families import Histogram, Summary
from joulery.exporters.services.identity import Identities
from joulery.exporters.services.otlp_answers import Form
from joulery.exporters.services.otlp_messages import Malformed, TooLarge
from joulery.exporters.services.receiver import Receiver, ReceiverLimits
from joulery.exporters.services.streams import StreamLimits, Streams
from joulery.exporters.services.target import Pod

__all__ = ["Fuzzed"]

POD = Pod(namespace="", name="a", uid="", addresses=("127.0.0.1",))
OTHER = Pod(namespace="n", name="b", uid="u", addresses=("127.0.0.2",))


class Fuzzed:
    """A receiver that is given body after body."""

    def __init__(self) -> None:
        self._streams = Streams(
            began_ns=1_000,
            clock=lambda: 0.0,
            limits=StreamLimits(series=20, streams=100),
        )
        self._receiver = Receiver(
            Identities([POD, OTHER]), self._streams, limits=ReceiverLimits(unpacked_bytes=100_000)
        )

    def take(self, data: bytes) -> bool:
        """Give it a body, in JSON if the first byte is odd; return whether it was taken."""
        form = Form.JSON if data[:1] and data[0] % 2 else Form.PROTOBUF
        try:
            self._receiver.worked_on("127.0.0.1", form, data[1:])
        except (Malformed, TooLarge):
            return False
        self._check()
        return True

    def _check(self) -> None:
        """Raise AssertionError if what is published cannot be true."""
        readings = self._streams.readings()
        assert OTHER not in readings
        for told in readings[POD].told if POD in readings else ():
            assert all(len(label) <= 100 for label in told.labels)
            value = told.value
            if isinstance(value, Histogram):
                assert list(value.counts) == sorted(value.counts)
                assert list(value.bounds) == sorted(set(value.bounds))
                numbers: Sequence[float] = value.counts
            else:
                numbers = [value.count, value.sum] if isinstance(value, Summary) else [value]
            assert all(0 <= number < float("inf") for number in numbers)
