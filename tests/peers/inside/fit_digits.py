"""Runs in MLServer's environment: fits a model to scikit-learn's digits, and says how good it is.

The 1,797 digits are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and
C. Kaynak, UCI Machine Learning Repository). The last 597 are left for the judgement.
"""

from __future__ import annotations

from pathlib import Path

import joblib  # type: ignore[import-untyped]
from calls import serve  # type: ignore[import-not-found]
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

KNOWN = 1200


def fit(path: str) -> dict[str, object]:
    """Write the model; return its accuracy on the digits that it has not seen, and its answers."""
    images, digits = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(images[:KNOWN] / 16, digits[:KNOWN])
    joblib.dump(model, Path(path))
    unseen, truth = images[KNOWN:] / 16, digits[KNOWN:]
    return {
        "accuracy": model.score(unseen, truth),
        "answers": model.predict(unseen).tolist(),
        "known": KNOWN,
    }


if __name__ == "__main__":
    serve(fit)
