"""Our evaluation against stock lm-eval on the same directory and questions."""

import json
import math
import re
from collections import Counter

import lm_eval
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import tiny
import tiny_benchmarks
import torch
import yaml
from lm_eval.tasks import TaskManager
from lowrank.assets.choice import SUBSET, asking_order
from lowrank.base import cli
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.decompose.loading import load_compressed
from lowrank.evaluate import configuration
from lowrank.evaluate.packed import limits
from lowrank.evaluate.packed.results import Results
from lowrank.evaluate.requests import prepare_requests
from lowrank.evaluate.tasks import read_exemplars, task_manager
from stock import own_records
from tiny_benchmarks import CASES, case, run

BAD = torch.tensor([7])
"""A token whose logit is not finite."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_benchmarks.save_compressed(tmp_path_factory.mktemp("model"))


def stock(made, folder, entry, subsets, chosen, max_new_tokens, model="hf"):
    """Score with lm-eval as its user would: a model by name, its tasks, data from a folder."""
    tasks, samples = [], {}
    for subset, rows in subsets.items():
        data = folder / (subset or "data")
        tiny.write_parquet(rows, data / "test.parquet")
        overrides = {"training_split": None, "validation_split": None, "fewshot_split": None}
        overrides |= {"dataset_path": str(data), "dataset_name": None, "test_split": "test"}
        exemplars = read_exemplars(entry, task_manager(entry))
        if exemplars:
            shots = {"sampler": "first_n", "samples": exemplars}
            overrides |= {"num_fewshot": len(exemplars), "fewshot_config": shots}
        for template in entry["tasks"]:
            name = template.format(subset=subset)
            tasks.append({"task": name} | overrides)
            if subset in chosen:
                samples[name] = chosen[subset]
    (folder / "group.yaml").write_text(yaml.safe_dump({"group": "stock", "task": tasks}))
    tasks_folder = f"{lm_eval.__path__[0]}/tasks/{entry['task_folder']}"
    manager = TaskManager(include_path=[tasks_folder, str(folder)], include_defaults=False)
    own = {"max_length": entry["max_length"]} if "max_length" in entry else {}
    return lm_eval.simple_evaluate(
        model=model,
        model_args={"pretrained": str(made / "exported"), "dtype": "float32"} | own,
        device="cpu",
        batch_size=3,
        tasks=["stock"],
        samples=samples,
        task_manager=manager,
        gen_kwargs={"max_gen_toks": max_new_tokens} if max_new_tokens else None,
    )


def assert_equal_metrics(results, theirs):
    """All of lm-eval's metrics, identical; probabilities and perplexities up to rounding."""
    compared = 0
    for task in theirs["samples"]:
        for key, value in theirs["results"][task].items():
            if isinstance(value, float) and "_stderr" not in key:
                tolerance = 1e-6 if task == "truthfulqa_mc2" else 1e-12
                relative = 1e-6 if task == "wikitext" else 0
                expected = pytest.approx(value, abs=tolerance, rel=relative)
                assert results[task][key] == expected, (task, key)
                compared += 1
    assert compared >= len(theirs["samples"])


def assert_made_of_lm_evals_own(result, theirs, entry):
    """The headline and what stands beside it are lm-eval's own numbers, of its own samples."""
    if entry["name"] == "truthfulqa":
        mc1, mc2 = (theirs[f"truthfulqa_{name}"]["acc,none"] for name in ("mc1", "mc2"))
        assert result["score"]["value"] == pytest.approx((2 * mc1 + mc2) / 3, abs=1e-6)
        beside = {name: own["value"] for name, own in result["beside"].items()}
        assert beside == {"mc1": pytest.approx(mc1), "mc2": pytest.approx(mc2, abs=1e-6)}
    elif entry["name"] != "mmlu":
        own = theirs[entry["tasks"][0]]
        key = entry["metric"] if "," in entry["metric"] else f"{entry['metric']},none"
        assert result["score"]["value"] == pytest.approx(own[key], abs=1e-12)
        for name, metric in entry.get("beside", {}).items():
            key = metric["metric"] if "," in metric["metric"] else f"{metric['metric']},none"
            assert result["beside"][name]["value"] == pytest.approx(own[key], abs=1e-12)
    assert list(result["beside"]) == list(entry.get("beside", {}))


def chosen_of(table, settings):
    """The positions of the questions that are wanted, by their subset."""
    subsets = np.array(table[SUBSET].to_pylist())
    order = asking_order(subsets.tolist(), settings["seed"], settings["sampling"])
    rows = sorted(order[: settings["limit"]].tolist())
    return {
        subset: [int(np.sum(subsets[:row] == subset)) for row in rows if subsets[row] == subset]
        for subset in dict.fromkeys(subsets[rows].tolist())
    }


def asked_of(folder, name):
    """What was asked of each question of each task, with the answers that the store holds."""
    answers = {
        row["key"]: row["text"] if row["text"] is not None else row["log_likelihood"]
        for path in (folder / "answers").rglob("*.parquet")
        for row in pyarrow.parquet.read_table(path).to_pylist()
    }
    found = {}
    for row in pyarrow.parquet.read_table(folder / name / "requests.parquet").to_pylist():
        said = json.loads(row["options"]) if row["options"] else row["continuation"]
        of_question = found.setdefault((row["task"], row["question"]), [])
        of_question.append((row["context"], said, answers[row["key"]]))
    return found


@pytest.mark.parametrize("scorer", ["packed", "hf"])
@pytest.mark.parametrize("name", [name for name in CASES if name != "wikitext"])
def test_equals_stock_lm_eval(name, scorer, model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(model / "cache"))
    entry, table, settings = case(name, scorer)
    run(model, tmp_path, [(entry, table, settings)])
    made = tiny_benchmarks.result(tmp_path, name)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]

    chosen = chosen_of(table, settings)
    theirs = stock(model, tmp_path, entry, CASES[name], chosen, settings["max_new_tokens"])
    by_question = {
        (task, sample["doc_id"], sample.get("filter")): sample
        for task, items in theirs["samples"].items()
        for sample in items
    }
    asked = asked_of(tmp_path, name)
    assert len(samples) == len(by_question) > 0
    for sample in samples:
        other = by_question[sample["task"], sample["doc_id"], sample.get("filter")]
        assert sample["benchmark"] == name
        assert not {"doc", "arguments", "resps"} & set(sample)
        said = asked[sample["task"], sample["doc_id"]]
        assert [[context, what] for context, what, _ in said] == json.loads(
            json.dumps(other["arguments"], default=str)
        )
        assert sample["target"] == str(other["target"]) or sample["target"] == other["target"]
        for metric in other["metrics"]:
            # A probability, and a text's own length, are what they are up to rounding.
            tolerance = 1e-5 if name == "truthfulqa" else 0
            assert float(sample[metric]) == pytest.approx(float(other[metric]), abs=tolerance)
        if not entry["generation"]:
            for (ours, _), (reference, _), (_, _, stored) in zip(
                sample["filtered_resps"], other["filtered_resps"], said, strict=True
            ):
                # Sums of float32: processors round them otherwise, to a millionth or so.
                near = pytest.approx(float(reference), abs=3e-5, rel=2e-6)
                assert float(ours) == stored == near
        else:
            assert [[answer] for _, _, answer in said] == other["resps"]
    assert_equal_metrics(made["results"], theirs)
    assert_made_of_lm_evals_own(made, theirs["results"], entry)
    assert made["questions"] == {"asked": 9, "available": len(table)}
    assert made["score"]["questions"] == 9 and made["settings"]["limit"] == 9
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores["benchmark"]) == {name} and sorted(scores["place"]) == list(range(9))
    if name == "mmlu":  # which asks two subjects
        assert list(scores["cluster"]) == list(scores["task"])
    assert made["score"].get("clusters") == (2 if name == "mmlu" else None)
    whole = read_json(tmp_path / "result.json")
    assert whole["decomposition"] == "tucker-r1-l2-all" and whole["settings"]["scorer"] == scorer
    assert whole["provenance"]["seed"] == 3


@pytest.mark.parametrize("scorer", ["packed", "hf"])
def test_whole_texts_equal_stock_lm_eval(scorer, model, tmp_path, monkeypatch):
    """Documents of one to many windows: log-likelihoods, counts, and lm-eval's three metrics."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(model / "cache"))
    entry, table, settings = case("wikitext", scorer)
    run(model, tmp_path, [(entry, table, settings)])
    made = tiny_benchmarks.result(tmp_path, "wikitext")
    chosen = chosen_of(table, settings)
    theirs = stock(model, tmp_path, entry, CASES["wikitext"], chosen, None)
    scores = pd.read_csv(tmp_path / "scores.csv").set_index("question")
    assert len(scores) == 9 == made["questions"]["asked"] and made["questions"]["available"] == 11
    for sample in theirs["samples"]["wikitext"]:
        log_likelihood, words = sample["word_perplexity"]
        row = scores.loc[sample["doc_id"]]
        assert row["weight"] == words
        assert row["value"] * words == pytest.approx(-log_likelihood, rel=1e-6)
    expected = theirs["results"]["wikitext"]
    assert made["score"]["value"] == pytest.approx(expected["word_perplexity,none"], rel=1e-6)
    assert set(made["beside"]) == {"byte_perplexity", "bits_per_byte"}
    for name, found in made["beside"].items():
        assert found["value"] == pytest.approx(expected[f"{name},none"], rel=1e-6)
    rows = pyarrow.parquet.read_table(tmp_path / "wikitext" / "requests.parquet").to_pylist()
    windows = Counter(row["question"] for row in rows)
    assert min(windows.values()) == 1 and max(windows.values()) > 5
    tokens = [len(row["context_ids"]) + len(row["continuation_ids"]) for row in rows]
    assert max(tokens) == tiny_benchmarks.WINDOW + 1  # the last one is predicted, not read
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert not any("target" in sample for sample in samples)


def test_a_window_that_the_model_cannot_read_is_an_error(model, tmp_path):
    entry, table, settings = case("wikitext", "packed")
    with pytest.raises(LowrankError, match=r"^wikitext: its windows have 513 tokens, but .* 512 "):
        run(model, tmp_path, [(entry | {"max_length": 513}, table, settings)])


@pytest.mark.parametrize("name", ["arc_challenge", "truthfulqa", "gsm8k", "wikitext"])
def test_lm_eval_knows_it_by_name(name, model, tmp_path, monkeypatch):
    """`lm_eval.simple_evaluate(model="packed", …)` gives what `model="hf"` gives."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(model / "cache"))
    entry, table, settings = case(name, "packed")
    arguments = (model, tmp_path, entry, CASES[name], chosen_of(table, settings))
    theirs, ours = (
        stock(*arguments, settings["max_new_tokens"], kind) for kind in ("hf", "packed")
    )
    assert_equal_metrics(ours["results"], theirs)


@pytest.mark.parametrize("scorer", ["packed", "hf"])
def test_benchmarks_of_one_job_are_those_of_jobs_of_their_own(scorer, model, tmp_path):
    cases = [case(name, scorer) for name in ("arc_easy", "mmlu", "gsm8k")]
    run(model, tmp_path, cases)
    together = read_json(tmp_path / "result.json")
    assert list(together["benchmarks"]) == sorted(own[0]["name"] for own in cases)
    frames = pd.read_csv(tmp_path / "scores.csv")
    for own in cases:
        name = own[0]["name"]
        run(model, tmp_path / name, [own])
        assert together["benchmarks"][name] == tiny_benchmarks.result(tmp_path / name, name)
        alone = pd.read_csv(tmp_path / name / "scores.csv")
        rows = frames[frames["benchmark"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows[list(alone)], alone)
        assert rows.drop(columns=list(alone)).isna().all(axis=None)


@pytest.mark.parametrize("scorer", ["packed", "hf"])
@pytest.mark.parametrize(
    "name", ["arc_easy", "truthfulqa", "winogrande", "mmlu", "gsm8k", "wikitext"]
)
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_answers_that_are_not_finite_are_no_scores(bad, name, scorer, model, tmp_path, monkeypatch):
    """One logit too large for the number format, as half precision has them."""

    def overflown(*arguments):
        loaded, manifest = load_compressed(*arguments)
        head = loaded.get_output_embeddings()
        head.register_forward_hook(lambda _, inputs, logits: logits.index_fill(-1, BAD, bad))
        return loaded, manifest

    monkeypatch.setattr(configuration, "load_model", overflown)
    entry, table, settings = case(name, scorer)
    with pytest.raises(LowrankError) as raised:
        run(model, tmp_path, [(entry, table, settings)])
    found = re.fullmatch(
        rf"tiny, tucker-r1-l2-all, ({name}\w*), question (\d+): the model's output is not finite "
        "in float32; there is no wider `dtype`: leave this configuration out",
        str(raised.value),
    )
    subset = found[1].removeprefix(f"{name}_") if name == "mmlu" else ""
    assert int(found[2]) in chosen_of(table, settings | {"limit": 12})[subset]  # three blocks
    assert not any((tmp_path / made).exists() for made in tiny_benchmarks.OUTPUTS)
    assert not list((tmp_path / "answers").rglob("*.parquet"))


@pytest.mark.parametrize("scorer", ["packed", "hf"])
def test_an_activation_that_float16_cannot_hold(scorer, model, tmp_path, monkeypatch, capsys):
    """The same weights, all of them finite, are scored in bfloat16 and end the job in float16."""

    def large(*arguments):
        loaded, manifest = load_compressed(*arguments)
        with torch.no_grad():
            for name in ("gate_proj", "up_proj"):
                getattr(loaded.model.layers[0].mlp, name).weight *= 2e4
        assert all(parameter.isfinite().all() for parameter in loaded.parameters())
        return loaded, manifest

    monkeypatch.setattr(configuration, "load_model", large)
    run(model, tmp_path / "bfloat16", [case("arc_easy", scorer, dtype="bfloat16")])
    made = tiny_benchmarks.result(tmp_path / "bfloat16", "arc_easy")
    assert math.isfinite(made["score"]["value"])
    folder = tmp_path / "float16"
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: run(model, folder, [case("arc_easy", scorer, dtype="float16")]))
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert re.fullmatch(
        r"error: tiny, tucker-r1-l2-all, arc_easy, question \d+: the model's output is not finite "
        "in float16; set `dtype: bfloat16` or `dtype: float32`",
        line,
    )
    assert [path.name for path in folder.iterdir()] == ["arc_easy"]  # neither result nor answers


def test_what_is_left_to_hflm_is_said_in_the_log(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(limits, "VERIFIED_MODEL_TYPES", frozenset())
    run(model, tmp_path, [case("arc_easy", "packed")])
    assert [record.message for record in own_records(caplog)] == [
        "Scoring with lm-eval's HFLM: model type 'llama' is not verified."
    ]


def test_shared_choices_are_scored_once(model, tmp_path):
    """The choices of mc1 are among those of mc2: together they are no more sequences than mc2."""
    entry, table, settings = case("truthfulqa", "packed")
    sequences = {}
    for tasks in (entry["tasks"], ["truthfulqa_mc2"]):
        folder = tmp_path / str(len(tasks))
        tiny.write_parquet(table, folder / "questions.parquet")
        paths = folder / "asked.parquet", folder / "requests.parquet"
        changed = entry | {"tasks": tasks}
        prepare_requests(model / "weights", folder / "questions.parquet", changed, settings, *paths)
        pairs = [
            (None, row["context_ids"], row["continuation_ids"])
            for row in tiny.pa.parquet.read_table(paths[1]).to_pylist()
        ]
        loaded, _ = load_compressed(model / "weights", model / "compressed", "float32", "cpu")
        sequences[len(tasks)] = (len(pairs), len(Results(loaded, pairs, 512).tree.sequences))
    assert sequences[2][0] > sequences[1][0]
    assert sequences[2][1] == sequences[1][1]


def test_eight_exemplars_stand_before_each_question(model, tmp_path):
    """lm-eval's own of chain-of-thought prompting, each with its answer as GSM8K writes it."""
    own = case("gsm8k", "packed")
    run(model, tmp_path, [own])
    asked = asked_of(tmp_path, "gsm8k")
    questions = own[1]["question"].to_pylist()
    assert len(asked) == 12  # three blocks
    for (_, position), ((context, _, _),) in asked.items():
        *shots, last = context.split("\n\n")
        assert last == f"Question: {questions[position]}\nAnswer:"
        assert [shot.rsplit("#### ")[-1] for shot in shots] == [
            "6",
            "5",
            "39",
            "8",
            "9",
            "29",
            "33",
            "8",
        ]
        assert shots[1].endswith("2 more cars arrive. 3 + 2 = 5.\n#### 5")
        assert all(shot.startswith("Question: ") and "\nAnswer: " in shot for shot in shots)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "gsm8k"}, "no task 'gsm8k' with exemplars in gsm8k"),
        ({"pattern": "The sum is (.)"}, "does not end with 'The sum is"),
    ],
)
def test_exemplars_that_lm_eval_does_not_have_are_refused(change, says):
    entry, _, _ = case("gsm8k", "packed")
    entry["exemplars"] = entry["exemplars"] | change
    with pytest.raises(LowrankError, match=says):
        read_exemplars(entry, task_manager(entry))
