"""Our evaluation against stock lm-eval on the same directory and questions."""

import json
import math
import re

import lm_eval
import pandas as pd
import pytest
import tiny
import torch
import yaml
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lowrank.assets.choice import SUBSET, choose_questions
from lowrank.base import cli
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_compressed
from lowrank.evaluate import causal
from lowrank.evaluate.causal import evaluate
from lowrank.evaluate.packed import greedy, limits
from lowrank.evaluate.packed.passes import Passes
from lowrank.evaluate.packed.results import Results
from lowrank.evaluate.requests import prepare_requests
from lowrank.evaluate.tasks import read_exemplars, task_manager
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

BAD = torch.tensor([7])
"""A token whose logit is not finite."""

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)
SETTINGS = {
    "limit": 9,
    "seed": 3,
    "sampling": "random",
    "dtype": "float32",
    "device": "cpu",
    "batch_size": 4,
    "max_new_tokens": None,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A compressed tiny model: its base, its factors, and its dense export."""
    folder = tmp_path_factory.mktemp("model")
    tiny.save_model(folder / "weights")
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    factorize_layer(folder / "weights", ARCHITECTURE, 2, 1, "tucker", folder / "f.safetensors")
    compress(
        ARCHITECTURE,
        "tiny",
        folder / "manifest.json",
        Decomposition.make(ARCHITECTURE, [2]),
        {2: folder / "f.safetensors"},
        folder / "compressed",
    )
    export_dense(folder / "weights", folder / "compressed", "float32", folder / "exported")
    return folder


def gsm8k_rows(count):
    rows = [
        {"question": tiny.words(index, 6), "answer": f"so #### {index}"} for index in range(count)
    ]
    return tiny.pa.Table.from_pylist(rows)


def mmlu_rows(count):
    rows = [
        {
            "question": tiny.words(index, 6),
            "choices": [tiny.words(index * 7 + choice, 2) for choice in range(4)],
            "answer": index % 4,
        }
        for index in range(count)
    ]
    return tiny.pa.Table.from_pylist(rows)


def hellaswag_rows(count):
    rows = [
        {
            "activity_label": tiny.words(index, 1),
            "ctx_a": tiny.words(index + 50, 5) + ".",
            "ctx_b": tiny.words(index + 90, 2),
            "endings": [tiny.words(index * 11 + choice, 2 + choice) for choice in range(4)],
            "label": str(index % 4),
        }
        for index in range(count)
    ]
    return tiny.pa.Table.from_pylist(rows)


def truthfulqa_rows(count):
    """As there: the choices of mc1 are among those of mc2, and their number varies."""

    def targets(choices, labels):
        return {"choices": choices, "labels": labels}

    rows = []
    for index in range(count):
        wrong = 2 + index % 3
        choices = [tiny.words(index * 47 + k, 1 + k % 3) for k in range(2 + wrong)]
        mc1 = targets([choices[0], *choices[2:]], [1] + [0] * wrong)
        mc2 = targets(choices, [1, 1] + [0] * wrong)
        question = tiny.words(index, 5) + "?"
        rows.append({"question": question, "mc1_targets": mc1, "mc2_targets": mc2})
    return tiny.pa.Table.from_pylist(rows)


CASES = {
    "arc_easy": {"": tiny.arc_rows(20)},
    "arc_challenge": {"": tiny.arc_rows(20, seed=5)},
    "hellaswag": {"": hellaswag_rows(20)},
    "truthfulqa": {"": truthfulqa_rows(15)},
    "winogrande": {"": tiny.winogrande_rows(20)},
    "gsm8k": {"": gsm8k_rows(12)},
    "mmlu": {"anatomy": mmlu_rows(7), "astronomy": mmlu_rows(11)},
}


def stock(folder, entry, subsets, chosen, max_new_tokens, model="hf"):
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
    return lm_eval.simple_evaluate(
        model=model,
        model_args={"pretrained": str(folder.parent / "exported"), "dtype": "float32"},
        device="cpu",
        batch_size=3,
        tasks=["stock"],
        samples=samples,
        task_manager=manager,
        gen_kwargs={"max_gen_toks": max_new_tokens} if max_new_tokens else None,
    )


def case(name, scorer):
    """A benchmark's entry, its questions and the settings."""
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name}
    entry = {"generation": False} | entry
    settings = SETTINGS | {"max_new_tokens": 12 if name == "gsm8k" else None, "scorer": scorer}
    table = tiny.pa.concat_tables(
        rows.append_column(SUBSET, tiny.pa.array([subset] * len(rows)))
        for subset, rows in CASES[name].items()
    )
    return entry, table, settings


def run(model, folder, entry, table, settings):
    """Prepare the requests and evaluate, as the workflow does."""
    tiny.write_parquet(table, folder / "questions.parquet")
    asked, requests = folder / "asked.parquet", folder / "requests.parquet"
    prepare_requests(
        model / "weights", folder / "questions.parquet", entry, settings, asked, requests
    )
    evaluate(
        model / "weights",
        model / "compressed",
        asked,
        entry,
        settings,
        folder / "result.json",
        folder / "samples.jsonl",
        folder / "scores.csv",
        requests,
    )


def assert_equal_metrics(results, theirs):
    """All of lm-eval's metrics, identical; TruthfulQA's mc2 is a probability, up to rounding."""
    compared = 0
    for task in theirs["samples"]:
        for key, value in theirs["results"][task].items():
            if isinstance(value, float):
                tolerance = 1e-6 if task == "truthfulqa_mc2" else 1e-12
                assert results[task][key] == pytest.approx(value, abs=tolerance), (task, key)
                compared += 1
    assert compared >= 2 * len(theirs["samples"])


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


@pytest.mark.parametrize("scorer", ["packed", "hf"])
@pytest.mark.parametrize("name", CASES)
def test_equals_stock_lm_eval(name, scorer, model, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(model / "cache"))
    entry, table, settings = case(name, scorer)
    subsets = CASES[name]
    folder = model / name
    run(model, folder, entry, table, settings)
    result = read_json(folder / "result.json")
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]

    chosen = choose_questions(table[SUBSET].to_pylist(), settings["limit"], settings["seed"])
    theirs = stock(folder, entry, subsets, chosen, settings["max_new_tokens"])
    by_question = {
        (task, sample["doc_id"], sample.get("filter")): sample
        for task, items in theirs["samples"].items()
        for sample in items
    }
    assert len(samples) == len(by_question) > 0
    for sample in samples:
        other = by_question[sample["task"], sample["doc_id"], sample.get("filter")]
        assert sample["arguments"] == json.loads(json.dumps(other["arguments"], default=str))
        assert sample["target"] == str(other["target"]) or sample["target"] == other["target"]
        for metric in other["metrics"]:
            # A probability, and a text's own length, are what they are up to rounding.
            tolerance = 1e-5 if name == "truthfulqa" else 0
            assert float(sample[metric]) == pytest.approx(float(other[metric]), abs=tolerance)
        if not entry["generation"]:
            for (ours, _), (reference, _) in zip(
                sample["filtered_resps"], other["filtered_resps"], strict=True
            ):
                assert float(ours) == pytest.approx(float(reference), abs=3e-5)
        else:
            assert sample["resps"] == other["resps"]
    assert_equal_metrics(result["results"], theirs)
    assert_made_of_lm_evals_own(result, theirs["results"], entry)
    assert result["scorer"] == {"name": scorer, "fallback": None}
    assert not list(folder.glob("*.journal*"))
    assert result["questions"] == {"asked": 9, "available": len(table)}
    assert result["score"]["questions"] == 9
    scores = pd.read_csv(folder / "scores.csv")
    if name == "mmlu":  # which asks two subjects
        assert list(scores["cluster"]) == list(scores["task"])
    assert result["score"].get("clusters") == (2 if name == "mmlu" else None)
    assert result["decomposition"] == "tucker-r1-l2-all"
    assert result["provenance"]["seed"] == 3


@pytest.mark.parametrize("name", ["arc_challenge", "truthfulqa", "gsm8k"])
def test_lm_eval_knows_it_by_name(name, model, monkeypatch):
    """`lm_eval.simple_evaluate(model="packed", …)` gives what `model="hf"` gives."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(model / "cache"))
    entry, table, settings = case(name, "packed")
    chosen = choose_questions(table[SUBSET].to_pylist(), settings["limit"], settings["seed"])
    folder = model / f"{name}-by-name"
    arguments = (folder, entry, CASES[name], chosen, settings["max_new_tokens"])
    theirs, ours = (stock(*arguments, model=known) for known in ("hf", "packed"))
    assert_equal_metrics(ours["results"], theirs)


@pytest.mark.parametrize("scorer", ["packed", "hf"])
@pytest.mark.parametrize("name", ["arc_easy", "gsm8k"])
def test_a_killed_job_goes_on_where_it_was(name, scorer, model, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Nothing in the library may catch it."""

    entry, table, settings = case(name, scorer)
    run(model, tmp_path / "whole", entry, table, settings)
    answered, alive = [], 3
    add_partial = CacheHook.add_partial

    def add_or_die(self, kind, arguments, answer):
        if len(answered) == alive:
            raise Killed
        add_partial(self, kind, arguments, answer)
        answered.append(arguments[0])

    # Few rows or sequences in a pass, so that there is a middle to be killed in.
    monkeypatch.setattr(limits, "CPU_BATCH_BYTES", 4 * 64)
    monkeypatch.setattr(greedy, "MOST_ROWS", {"cpu": 1})
    monkeypatch.setattr(CacheHook, "add_partial", add_or_die)
    settings = settings | {"batch_size": 1}
    with pytest.raises(Killed):
        run(model, tmp_path / "killed", entry, table, settings)
    assert list((tmp_path / "killed").glob("result.journal*"))
    computed = []
    for owner, method in ((Passes, "run_batch"), (HFLM, "_model_call")):
        original = getattr(owner, method)

        def counted(*arguments, original=original, **options):
            computed.append(1)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, counted)
    alive = 10**6
    run(model, tmp_path / "killed", entry, table, settings)
    resumed = len(computed)
    assert not list((tmp_path / "killed").glob("result.journal*"))
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / kind / "samples.jsonl").read_text().splitlines()]
        for kind in ("killed", "whole")
    )
    for sample, other in zip(ours, theirs, strict=True):
        assert (
            sample["acc" if name == "arc_easy" else "resps"]
            == other["acc" if name == "arc_easy" else "resps"]
        )
    if name == "arc_easy":
        run(model, tmp_path / "again", entry, table, settings)
        assert 0 < resumed < len(computed) - resumed


@pytest.mark.parametrize("scorer", ["packed", "hf"])
@pytest.mark.parametrize("name", ["arc_easy", "truthfulqa", "winogrande", "mmlu", "gsm8k"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_answers_that_are_not_finite_are_no_scores(bad, name, scorer, model, tmp_path, monkeypatch):
    """One logit too large for the number format, as half precision has them."""

    def overflown(*arguments):
        loaded, manifest = load_compressed(*arguments)
        head = loaded.get_output_embeddings()
        head.register_forward_hook(lambda _, inputs, logits: logits.index_fill(-1, BAD, bad))
        return loaded, manifest

    monkeypatch.setattr(causal, "load_compressed", overflown)
    entry, table, settings = case(name, scorer)
    with pytest.raises(LowrankError) as raised:
        run(model, tmp_path, entry, table, settings)
    found = re.fullmatch(
        rf"tiny, tucker-r1-l2-all, ({name}\w*), question (\d+): the model's output is not finite "
        "in float32; there is no wider `dtype`: leave this configuration out",
        str(raised.value),
    )
    subset = found[1].removeprefix(f"{name}_") if name == "mmlu" else ""
    chosen = choose_questions(table[SUBSET].to_pylist(), settings["limit"], settings["seed"])
    assert int(found[2]) in chosen[subset]
    assert not any((tmp_path / made).exists() for made in ("result.json", "samples.jsonl"))
    assert not (tmp_path / "scores.csv").exists()


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

    monkeypatch.setattr(causal, "load_compressed", large)
    entry, table, settings = case("arc_easy", scorer)
    run(model, tmp_path / "bfloat16", entry, table, settings | {"dtype": "bfloat16"})
    assert math.isfinite(read_json(tmp_path / "bfloat16" / "result.json")["score"]["value"])
    folder = tmp_path / "float16"
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: run(model, folder, entry, table, settings | {"dtype": "float16"}))
    assert ended.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert re.fullmatch(
        r"error: tiny, tucker-r1-l2-all, arc_easy, question \d+: the model's output is not finite "
        "in float16; set `dtype: bfloat16` or `dtype: float32`",
        line,
    )
    assert {path.suffix for path in folder.iterdir()} == {".parquet"}  # no result, nor a journal


def test_what_is_left_to_hflm_is_said_in_the_result(model, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "VERIFIED_MODEL_TYPES", frozenset())
    entry, table, settings = case("arc_easy", "packed")
    run(model, tmp_path, entry, table, settings)
    fallback = read_json(tmp_path / "result.json")["scorer"]["fallback"]
    assert fallback == "model type 'llama' is not verified"


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
    entry, table, settings = case("gsm8k", "packed")
    run(model, tmp_path, entry, table, settings)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    for sample in samples:
        *shots, own = sample["arguments"][0][0].split("\n\n")
        assert own == f"Question: {sample['doc']['question']}\nAnswer:"
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
