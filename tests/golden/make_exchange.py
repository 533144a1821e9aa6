"""Make the golden files of test_exchange.py with the real MLflow and Trackio.

Not run by the tests. In a scratch directory, each package in an environment of its own::

    python make_exchange.py mlflow sqlite:///mlflow.db
    MLFLOW_ALLOW_FILE_STORE=true python make_exchange.py mlflow file:./mlruns
    TRACKIO_DIR=trackio python make_exchange.py trackio      # 0.43, and 0.5 for trackio-old
    zip -9 -r exchange.zip mlflow.db mlruns trackio trackio-old

The files here are those of MLflow 3.17.2 and of Trackio 0.43.0 and 0.5.0.
"""

from __future__ import annotations

import math
import sys


def mlflow_runs(uri: str) -> None:
    """Write runs of every kind: repeated names and steps, no numbers, failed, deleted."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tiny")
    with mlflow.start_run(run_name="baseline"):
        mlflow.log_params({"lr": 0.001, "layers": 12, "model": "gpt", "tied": True, "clip": None})
        mlflow.log_params({"zip": "007", "typed": "1e-3", "imported": "yes", "prompt": "a\nb: 'c'"})
        mlflow.set_tags({"team": "nlp", "mlflow.source.git.commit": "a" * 40})
        for step, loss in enumerate([3.0, 2.5, math.nan, math.inf, -math.inf]):
            mlflow.log_metric("loss", loss, step=step)
        for accuracy in (0.5, 0.25):  # both at step 0, as it is without a step
            mlflow.log_metric("eval/accuracy", accuracy)
    with mlflow.start_run(run_name="baseline"):
        mlflow.log_param("lr", 0.01)
        mlflow.log_metric("loss", 2.75, step=10)
    with mlflow.start_run(run_name="runs/odd: é 🙂"):
        for name in ("step", "status", "loss", "Loss", "loss__text", "a.b c"):
            mlflow.log_metric(name, 1.5, step=1)
    with mlflow.start_run(run_name="empty"):
        mlflow.log_param("lr", 0.1)
    try:
        with mlflow.start_run(run_name="failed"):
            mlflow.log_metric("loss", 9.0, step=1)
            raise RuntimeError("out of memory")
    except RuntimeError:
        pass
    mlflow.start_run(run_name="killed")
    mlflow.end_run("KILLED")
    client = mlflow.MlflowClient()
    tiny = client.get_experiment_by_name("tiny").experiment_id
    client.create_run(tiny, run_name="going")
    client.delete_run(client.create_run(tiny, run_name="deleted").info.run_id)
    old = client.create_experiment("old")
    client.create_run(old, run_name="in a deleted experiment")
    client.delete_experiment(old)


def trackio_runs() -> None:
    """Write runs with nested settings and metrics, NaN, text, and one name twice."""
    import trackio

    for lr in (0.001, 0.01):
        config = {"lr": lr, "optimizer": {"name": "adamw", "betas": [0.9, 0.99]}}
        trackio.init(project="tiny", name="baseline", config=config)
        for step, loss in enumerate([3.0, 2.5, math.nan, math.inf, -math.inf]):
            trackio.log({"loss": loss, "eval": {"accuracy": 0.5 + lr}}, step=step)
        trackio.log({"comment": "NaN is a text here", "epoch": 1}, step=9)
        trackio.finish()
    trackio.init(project="other", name="second", config={"seed": 1})
    trackio.log({"loss": 1.25})
    trackio.finish()


if __name__ == "__main__":
    if sys.argv[1] == "mlflow":
        mlflow_runs(sys.argv[2])
    else:
        trackio_runs()
