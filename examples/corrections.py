"""Payments that are predicted by several threads, and labels that come back later.

    perennial serve                              # in the root of the repository: serves models/fraud
    pip install 'tritonclient[grpc]' grpcio-tools
    python examples/corrections.py

Workers ask for predictions with Triton's client; one thread streams the labels back, 200 payments
later, and counts how often the answers were right. After the half the kind of fraud changes: the model
follows within some hundred labels.
"""

import argparse
import queue
import random
import threading
import uuid

import grpc
import numpy as np
import tritonclient.grpc as triton

import stubs

p, p_grpc = stubs.perennial()

N_WORKERS = 4
LABELS_LATE = 200
COUNTRIES = ["AT", "BR", "DE", "FR", "US"]


def payment(rng, changed):
    """The inputs of one payment, and whether it is fraud."""
    row = {
        "amount": rng.lognormvariate(4, 1),
        "minutes_since_last": rng.expovariate(1 / 300),
        "merchant": f"shop-{rng.randrange(40)}",
        "country": rng.choice(COUNTRIES),
    }
    if changed:
        fraud = row["minutes_since_last"] < 30 and row["amount"] < 60
    else:
        fraud = row["country"] == "BR" and row["amount"] > 80
    return row, "fraud" if fraud else "legitimate"


def tensors(row):
    """One row as the tensors of the Open Inference Protocol."""
    for name, value in row.items():
        number = isinstance(value, float)
        tensor = triton.InferInput(name, [1], "FP64" if number else "BYTES")
        array = np.array([value]) if number else np.array([value.encode()], dtype=object)
        tensor.set_data_from_numpy(array)
        yield tensor


def predict(server, rows, answers):
    """A worker: takes rows from one queue and puts answers into another. Each has its own client."""
    with triton.InferenceServerClient(server) as client:
        while (taken := rows.get()) is not None:
            row, label = taken
            answer = client.infer("fraud", list(tensors(row)))
            predicted = answer.as_numpy("label")[0].decode()
            prediction_id = answer.as_numpy("prediction_id")[0].decode()
            answers.put((prediction_id, predicted, label))
    answers.put(None)


def feedback(answers):
    """The events of a feedback stream, each some time after its prediction, and the score so far."""
    waiting, n_ended, outcomes = [], 0, []

    def event(prediction_id, predicted, label):
        outcomes.append((predicted, label))
        if len(outcomes) % 500 == 0:
            newest = outcomes[-500:]
            frauds = [predicted == label for predicted, label in newest if label == "fraud"]
            right = sum(predicted == label for predicted, label in newest) / len(newest)
            print(f"{len(outcomes):6} labels: {right:.3f} right, {np.mean(frauds):.3f} of the frauds found")
        return p.FeedbackRequest(
            model="fraud", feedback_id=str(uuid.uuid4()), prediction_id=prediction_id,
            label=label, source="chargebacks",
        )

    while n_ended < N_WORKERS:
        answer = answers.get()
        if answer is None:
            n_ended += 1
            continue
        waiting.append(answer)
        if len(waiting) > LABELS_LATE:
            yield event(*waiting.pop(0))
    for answer in waiting:
        yield event(*answer)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--server", default="127.0.0.1:8001", help="host and port of gRPC")
    arguments.add_argument("--payments", type=int, default=6000)
    given = arguments.parse_args()

    rows, answers = queue.Queue(maxsize=100), queue.Queue(maxsize=100)
    workers = [
        threading.Thread(target=predict, args=(given.server, rows, answers), daemon=True)
        for _ in range(N_WORKERS)
    ]

    def produce():
        rng = random.Random(1)
        for index in range(given.payments):
            rows.put(payment(rng, changed=index >= given.payments / 2))
        for _ in workers:
            rows.put(None)

    producer = threading.Thread(target=produce, daemon=True)
    for thread in [producer, *workers]:
        thread.start()

    with grpc.insecure_channel(given.server) as channel:
        statuses = {}
        for reply in p_grpc.LearningStub(channel).StreamFeedback(feedback(answers)):
            name = p.FeedbackReply.Status.Name(reply.status)
            statuses[name] = statuses.get(name, 0) + 1
            if reply.status == p.FeedbackReply.REFUSED:
                raise SystemExit(f"{reply.field}: {reply.message}")
    print(statuses)


if __name__ == "__main__":
    main()
