"""Both scorers end where a model's output is not finite, and say which question has no answer."""

import json
import math

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from lowrank.evaluate.asking import ask
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.keys import digest
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.stock import StockLM
from lowrank.evaluate.store import AnswerStore
from random_models import TOKENIZER, make_model, many_pairs
from stock import CONTEXTS

SCORERS = {
    "packed": lambda model, **options: PackedLM(model, TOKENIZER, batch_tokens=256, **options),
    "hf": lambda model: StockLM(
        pretrained=model, tokenizer=TOKENIZER, batch_size=2, softmax_dtype="float32"
    ),
}


def instances(kind, arguments):
    """Requests of questions 100, 101, … of a task; four choices each, if any."""
    each = 4 if kind == "loglikelihood" else 1
    return [
        Instance(kind, {}, own, k % each, metadata=("toy", 100 + k // each, 1))
        for k, own in enumerate(arguments)
    ]


def pairs():
    """Three questions of four choices; the same choices, but for the last one of question 101."""
    made = many_pairs()[:12]
    made[7] = (made[7][0], " 8x")
    return instances("loglikelihood", made)


def spoiled(token, value=math.nan, dtype=torch.float32):
    """A model that is not finite where, and only where, it reads a token."""
    model = make_model(tie_word_embeddings=False).to(dtype)
    with torch.no_grad():
        model.model.embed_tokens.weight[token] = value
    return model


def only_token_of(text, others):
    """A token of a text that is in none of the others; it is not the last, which is not read."""
    known = {token for other in others for token in TOKENIZER.encode(other)}
    return next(token for token in TOKENIZER.encode(text)[:-1] if token not in known)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scorer", SCORERS)
def test_the_choice_that_has_no_log_likelihood_is_named(scorer, value):
    requests = pairs()
    texts = ["".join(request.args) for request in requests]
    model = spoiled(only_token_of(texts[7], texts[:7] + texts[8:]), value)
    lm = SCORERS[scorer](model)
    assert getattr(lm, "reason", None) is None
    with pytest.raises(NotFiniteError) as raised:
        lm.loglikelihood(requests, disable_tqdm=True)
    assert str(raised.value) == (
        "toy, question 101: the model's output is not finite in float32; there is no wider "
        "`dtype`: leave this configuration out"
    )
    assert raised.value.asked == requests[7].args


@pytest.mark.parametrize("scorer", SCORERS)
def test_the_text_that_has_no_next_token_is_named(scorer):
    contexts = [*CONTEXTS, "something else"]
    requests = instances(
        "generate_until", [(c, {"until": ["\n"], "max_gen_toks": 8}) for c in contexts]
    )
    model = spoiled(only_token_of(contexts[3], contexts[:3] + contexts[4:]))
    lm = SCORERS[scorer](model)
    assert getattr(lm, "reason", None) is None
    with pytest.raises(NotFiniteError, match="^toy, question 103: the model's output is not fin"):
        lm.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_token_after_the_first_may_have_no_successor(scorer):
    """What the model reads is finite until it has written a certain token."""
    contexts = ["the quick", "the lazy dog"]
    requests = instances(
        "generate_until", [(c, {"until": [], "max_gen_toks": 8}) for c in contexts]
    )
    model = make_model(tie_word_embeddings=False)
    prompt = TOKENIZER.encode(contexts[1])
    with torch.no_grad():
        tokens = model.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False)[0]
    written = int(tokens[-1])
    assert written not in tokens[:-1]
    with torch.no_grad():
        model.model.embed_tokens.weight[written] = math.nan
    assert written not in TOKENIZER.encode("".join(contexts))
    lm = SCORERS[scorer](model)
    assert getattr(lm, "reason", None) is None
    with pytest.raises(NotFiniteError, match="^toy, question 10[01]: "):
        lm.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("scorer", SCORERS)
def test_the_first_batch_is_the_last(scorer):
    """One pass shows that all overflow; packed rows have one more, for a prefix or for the name."""
    model = make_model(tie_word_embeddings=False)
    lm = SCORERS[scorer](model)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(math.nan)
    passes = []
    model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(NotFiniteError):
        lm.loglikelihood(pairs(), disable_tqdm=True)
    assert len(passes) == (2 if scorer == "packed" else 1)
    passes.clear()
    with pytest.raises(NotFiniteError):
        lm.generate_until(instances("generate_until", [(c, {"max_gen_toks": 8}) for c in CONTEXTS]))
    assert len(passes) == (2 if scorer == "packed" else 1)


@pytest.mark.parametrize("scorer", SCORERS)
def test_float16_overflows_where_bfloat16_does_not(scorer):
    """Weights of some hundreds; the product of a gate and what it lets through is above 65504."""
    answers = {}
    for dtype in (torch.bfloat16, torch.float16):
        model = make_model(tie_word_embeddings=False)
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight *= 1e3
            model.model.layers[1].mlp.gate_proj.weight *= 1e3
        model.to(dtype)
        assert all(parameter.isfinite().all() for parameter in model.parameters())
        lm = SCORERS[scorer](model)
        if dtype == torch.float16:
            remedy = "in float16; set `dtype: bfloat16` or `dtype: float32`$"
            with pytest.raises(NotFiniteError, match=remedy):
                lm.loglikelihood(pairs(), disable_tqdm=True)
        else:
            answers[dtype] = lm.loglikelihood(pairs(), disable_tqdm=True)
    assert all(math.isfinite(value) for value, _ in answers[torch.bfloat16])


def test_no_cache_holds_what_is_not_finite(tmp_path):
    requests = pairs()
    texts = ["".join(request.args) for request in requests]
    model = spoiled(only_token_of(texts[7], texts[:7] + texts[8:]))
    cached = CachingLM(SCORERS["hf"](model), str(tmp_path / "cache"))
    with pytest.raises(NotFiniteError):
        cached.loglikelihood(requests)
    assert all(math.isfinite(value) for value, _ in cached.dbdict.values())


def prepared(requests, lm):
    """Rows of requests as `ask` takes them; the order of asking is that of the questions."""
    rows = []
    for request in requests:
        is_text = request.request_type == "generate_until"
        context, continuation = request.args[0], "" if is_text else request.args[1]
        ids = lm._encode_pair(context, continuation) if not is_text else (context, "")
        rows.append(
            {
                "kind": request.request_type,
                "task": request.task_name,
                "question": request.doc_id,
                "place": request.doc_id - 100,
                "key": digest(ids),
                "context": context,
                "continuation": continuation,
                "options": json.dumps(request.args[1]) if is_text else "",
                "context_ids": ids[0],
                "continuation_ids": ids[1],
            }
        )
    return rows


@pytest.mark.parametrize("kind", ["log-likelihoods", "texts"])
@pytest.mark.parametrize("scorer", SCORERS)
def test_no_store_holds_what_is_not_finite(scorer, kind, tmp_path):
    """Questions of earlier blocks are kept; of the block with the bad one, nothing is."""
    if kind == "texts":
        contexts = [*CONTEXTS[:3], "something else"]
        requests = instances(
            "generate_until", [(c, {"until": ["\n"], "max_gen_toks": 8}) for c in contexts]
        )
        texts, bad = contexts, 1
    else:
        requests, bad = pairs(), 7
        texts = ["".join(request.args) for request in requests]
    model = spoiled(only_token_of(texts[bad], texts[:bad] + texts[bad + 1 :]))
    lm = SCORERS[scorer](model)
    rows = prepared(requests, lm)
    store = AnswerStore(tmp_path, {})
    with pytest.raises(NotFiniteError, match="^toy, question 101: the model's output is not fin"):
        ask(lm, rows, store, "toy", 1)
    earlier = {row["key"] for row in rows if row["question"] == 100}
    fresh = AnswerStore(tmp_path, {})
    assert {row["key"] for row in rows if row["key"] in fresh} == earlier
    for key in earlier:
        answer = fresh[key]
        assert isinstance(answer, str) or math.isfinite(answer[0])


def test_a_rolling_log_likelihood_is_checked():
    texts = ["the quick brown fox", "the lazy dog"]
    requests = instances("loglikelihood_rolling", [(text,) for text in texts])
    model = spoiled(only_token_of(texts[1], texts[:1]))
    for scorer in SCORERS.values():
        with pytest.raises(NotFiniteError, match="the model's output is not finite in float32"):
            scorer(model).loglikelihood_rolling(requests, disable_tqdm=True)


def test_stock_answers_are_those_of_lm_eval():
    model = make_model()
    theirs = HFLM(pretrained=model, tokenizer=TOKENIZER, batch_size=2, softmax_dtype="float32")
    ours = SCORERS["hf"](model)
    assert ours.loglikelihood(pairs(), True) == theirs.loglikelihood(pairs(), True)
    contexts = instances(
        "generate_until", [(c, {"until": ["e"], "max_gen_toks": 8}) for c in CONTEXTS]
    )
    assert ours.generate_until(contexts, True) == theirs.generate_until(contexts, True)
    texts = instances("loglikelihood_rolling", [(context,) for context in CONTEXTS])
    assert ours.loglikelihood_rolling(texts, True) == theirs.loglikelihood_rolling(texts, True)


def test_an_error_is_one_line_of_all_that_is_known():
    error = NotFiniteError("torch.bfloat16", asked=3)
    assert str(error) == (
        "a question: the model's output is not finite in bfloat16; set `dtype: float32`"
    )
    told = error.told(task="toy", question=0, configuration="tiny, drop-l2")
    assert str(told).startswith("tiny, drop-l2, toy, question 0: the model's output is")
    assert (told.asked, told.dtype) == (3, "torch.bfloat16")
    assert json.dumps(str(told)).count("\\n") == 0
