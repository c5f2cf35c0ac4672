"""What lm-eval takes for a model, and is none: it has the answers already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from lowrank.base.errors import LowrankError
from lowrank.evaluate.requests import ROLLING, generation_options
from lowrank.evaluate.store import AnswerStore


class StoredLM(LM):
    """Answers lm-eval's requests from the store.

    Parameters
    ----------
    requests
        Rows of `lowrank.evaluate.requests.REQUESTS`, as mappings, which tell a request's key by its
        strings.
    store
        The configuration's answers, those of `requests` among them.

    Raises
    ------
    LowrankError
        Of a request that was not prepared.
    """

    def __init__(self, requests: Sequence[Mapping[str, Any]], store: AnswerStore) -> None:
        super().__init__()
        self._store = store
        self._keys = {
            (row["context"], row["continuation"], row["options"]): row["key"]
            for row in requests
            if row["kind"] != ROLLING
        }
        windows: dict[tuple[str, int, str], list[bytes]] = {}
        for row in requests:
            if row["kind"] == ROLLING:
                own = row["task"], row["question"], row["continuation"]
                windows.setdefault(own, []).append(row["key"])
        # Questions may share a text; each has all of its windows.
        self._windows = {text: keys for (_, _, text), keys in windows.items()}

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Return the log-likelihood of each continuation, and whether it is the greedy one."""
        return [self._answer(*request.args, "") for request in requests]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Return the text that follows each context."""
        return [
            self._answer(request.args[0], "", generation_options(request.args[1]))
            for request in requests
        ]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[Any]:
        """Return the log-likelihood of each whole text: the sum over its windows."""
        return [self._rolling_answer(*request.args) for request in requests]

    def _rolling_answer(self, text: str) -> float:
        try:
            return sum(self._store[key][0] for key in self._windows[text])
        except KeyError:
            raise _not_prepared(text) from None

    def _answer(self, context: str, continuation: str, options: str) -> Any:
        try:
            return self._store[self._keys[context, continuation, options]]
        except KeyError:
            raise _not_prepared(context) from None


def _not_prepared(text: str) -> LowrankError:
    return LowrankError(
        f"no request was prepared that begins with {text[:60]!r}: delete the prepared requests and "
        "run again"
    )
