#!/usr/bin/env python3
"""Feeds small events through one unmodified grpcio stream, as fast as it takes them.

    stream.py HOST:PORT MODEL N        # benches/stream.rs calls it, with the stubs beside it

Every event has 60 bytes and names a prediction that nobody made. The last line printed has how many
were accepted and how long that took in seconds; anything else fails.
"""

import random
import sys
import time

import grpc
import perennial_pb2 as messages
import perennial_pb2_grpc as stubs

UNKNOWN = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"


def events(model, n):
    run = random.randrange(100_000)
    for index in range(n):
        key = f"{run:05}{index:09}"
        yield messages.FeedbackRequest(
            model=model, feedback_id=key, prediction_id=UNKNOWN, label="a"
        )


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    server, model, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    size = len(next(events(model, 1)).SerializeToString())
    accepted = 0
    with grpc.insecure_channel(server) as channel:
        started = time.perf_counter()
        for reply in stubs.LearningStub(channel).StreamFeedback(events(model, n)):
            if reply.status != messages.FeedbackReply.ACCEPTED:
                sys.exit(f"event {reply.feedback_id} was refused: {reply.message}")
            accepted += 1
        took = time.perf_counter() - started
    if accepted != n:
        sys.exit(f"{accepted} of {n} events were acknowledged")
    print(f"grpcio {grpc.__version__}, Python {sys.version.split()[0]}, {size} bytes an event")
    print(accepted, took)


if __name__ == "__main__":
    main()
