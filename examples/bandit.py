"""A front page that learns from clicks and reading times, without ever having the right item.

    perennial serve --models examples/models --data front-page-data
    pip install 'tritonclient[grpc]' grpcio-tools
    python examples/bandit.py

The model chooses an item and states the probability with which it chose. A click is one implicit signal,
the seconds of reading another; examples/models/front-page/model.toml states what each is worth, and
that silence is worth nothing.
"""

import argparse
import random
import uuid

import grpc
import numpy as np
import tritonclient.grpc as triton

import stubs

p, p_grpc = stubs.perennial()

# How often each group of readers clicks on an item that is shown to it.
TASTE = {
    "commuters": {"news": 0.6, "sports": 0.3, "music": 0.1, "travel": 0.1},
    "students": {"news": 0.1, "sports": 0.2, "music": 0.6, "travel": 0.3},
    "families": {"news": 0.2, "sports": 0.1, "music": 0.2, "travel": 0.6},
}


def ask(client, hour, segment):
    """The item to show, and the id by which feedback refers to it."""
    inputs = [triton.InferInput("hour", [1], "FP64"), triton.InferInput("segment", [1], "BYTES")]
    inputs[0].set_data_from_numpy(np.array([float(hour)]))
    inputs[1].set_data_from_numpy(np.array([segment.encode()], dtype=object))
    answer = client.infer("front-page", inputs)
    return (answer.as_numpy(name)[0].decode() for name in ("action", "prediction_id"))


def signal(prediction_id, name, value):
    return p.FeedbackRequest(
        model="front-page", feedback_id=str(uuid.uuid4()), prediction_id=prediction_id,
        signal=p.Signal(name=name, value=value), source="front page",
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--server", default="127.0.0.1:8001", help="host and port of gRPC")
    arguments.add_argument("--visits", type=int, default=4000)
    given = arguments.parse_args()

    rng, clicks = random.Random(1), []
    best = np.mean([max(taste.values()) for taste in TASTE.values()])
    with triton.InferenceServerClient(given.server) as client, grpc.insecure_channel(given.server) as channel:
        learning = p_grpc.LearningStub(channel)
        for visit in range(given.visits):
            segment = rng.choice(list(TASTE))
            item, prediction_id = ask(client, rng.randrange(24), segment)
            clicked = rng.random() < TASTE[segment][item]
            clicks.append(clicked)
            if clicked:
                learning.SubmitFeedback(signal(prediction_id, "click", 1.0))
                learning.SubmitFeedback(signal(prediction_id, "dwell_seconds", rng.expovariate(1 / 60)))
            if len(clicks) % 500 == 0:
                print(f"{visit + 1:6} visits: {np.mean(clicks[-500:]):.3f} clicked (best possible {best:.3f})")


if __name__ == "__main__":
    main()
