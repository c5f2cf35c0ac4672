"""What the rules ask of a project, on the shipped scales and on small ones."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from lowrank.base.authors import TABLES
from lowrank.base.errors import LowrankError
from lowrank.base.files import merge, read_yaml
from lowrank.base.metric import Metric
from lowrank.project.configuration import Project
from lowrank.project.references import find_kept_runs, find_references, reference_model
from lowrank.project.views.analyse import (
    benchmark_label,
    described_benchmarks,
    shaped_by,
    shaping_scripts,
    study_evaluations,
    study_rows,
)
from lowrank.project.views.authors import (
    authors_benchmarks,
    authors_device,
    authors_labels,
    authors_model,
    authors_title,
)
from lowrank.project.views.claims import (
    claim_evaluations,
    claim_evidence,
    claim_scopes,
    documents,
    judged_models,
)
from lowrank.project.views.decompose import (
    SEQUENTIAL,
    WALKS,
    decomposition_names,
    layer_factors,
    layer_inputs,
    method_module,
)
from lowrank.project.views.evaluate import (
    asking_settings,
    metrics_modules,
    scoring,
)
from lowrank.project.views.figures import (
    Drawing,
    costs_shown,
    drawings,
    efficiency_study,
    figure_names,
    figure_study,
    scores_shown,
    subtitle,
)
from lowrank.project.views.paper import (
    fact_evaluations,
    fact_files,
    fact_models,
    fact_run,
    fact_tables,
    report_inputs,
)
from lowrank.project.views.profile import (
    fine_tuning_settings,
    profile_settings,
    profiled_benchmarks,
    profiled_requests,
    profiled_study,
    study_records,
    training_records,
)
from lowrank.project.views.tables import (
    is_carried_over,
    table_1_1_rows,
    table_3_1_rows,
    table_4_1_rows,
    table_4_2_rows,
)

SMALL = {
    "models": ["smollm2-135m-instruct", "minilm-l6"],
    "studies": ["table_4_2", "figure_3_7", "unseen", "bert_figure_3_6"],
    "benchmarks": {"arc_easy": {"limit": 40}, "gsm8k": {"max_new_tokens": 64}, "mrpc": {}},
    "device": "cpu",
    "dtype": "float32",
    "batch_size": 16,
}
OUTPUTS = {
    "fetch_model.manifest": "r/{model}.json",
    "evaluate.result": "r/{model}/{decomposition}.json",
    "evaluate.scores": "r/{model}/{decomposition}.csv",
    "collect_accuracy": "r/{model}/{study}.csv",
    "collect_profiles.table": "r/{model}/{study}.profiles.csv",
    "collect_profiles.fits": "r/{model}/{study}.fits.json",
    "authors_tables.scores": "r/authors/scores.csv",
    "authors_tables.table": "r/authors/costs.csv",
    "authors_tables.fits": "r/authors/fits.json",
    "table_1_1.csv": "f/table_1_1.csv",
    "table_3_1.csv": "f/table_3_1.csv",
    "table_4_2.csv": "f/{model}/table_4_2.csv",
}
RESULT = OUTPUTS["evaluate.result"]
output_of = OUTPUTS.__getitem__


@pytest.fixture
def project_of(monkeypatch, tmp_path):
    """A function from changed settings to a project; it has a study without a figure."""
    monkeypatch.setenv("LOWRANK_HUB", "1")
    folder = shutil.copytree("config", tmp_path / "config")
    unseen = 'title: Unseen\nfamily: llama\ncosts: true\nconfigurations: {"one": {layers: [1]}}\n'
    (folder / "studies" / "unseen.yaml").write_text(unseen)
    return lambda **changes: Project(SMALL | changes, folder)


@pytest.fixture
def project(project_of):
    return project_of()


@pytest.fixture
def llama(project):
    return project.models["smollm2-135m-instruct"]


@pytest.fixture
def bert(project):
    return project.models["minilm-l6"]


def test_names_of_a_study_begin_with_the_dense_model_and_repeat_nothing(project, llama):
    names = decomposition_names(project, "table_4_2", llama)
    assert names[0] == "dense" and len(names) == len(set(names))
    assert any(name.startswith("drop-") for name in names)
    kept = decomposition_names(project, "table_4_2", llama, without=["drop"])
    assert kept == [name for name in names if not name.startswith("drop-")]


def test_a_configuration_is_cut_from_the_factors_of_its_layers(project, llama):
    pattern = "{model}/{factorization}/{layer}"
    made = layer_factors(project, llama, "tucker-r1-l3.28-all", pattern)
    assert made == ["smollm2-135m-instruct/tucker/3", "smollm2-135m-instruct/tucker/28"]
    assert layer_factors(project, llama, "dense", pattern) == []
    assert layer_factors(project, llama, "drop-l3", pattern) == []


def test_what_shapes_a_score(project):
    assert scoring(project, "arc_easy") == {
        "name": "arc_easy",
        "tasks": ["arc_easy"],
        "task_folder": "arc",
        "exemplars": {},
        "metric": "acc",
        "weights": {},
        "beside": {"acc_norm": {"metric": "acc_norm"}},
        "clusters": None,
        "generation": False,
        "max_length": None,
    }
    assert scoring(project, "mmlu")["clusters"] == "task"
    assert scoring(project, "gsm8k")["metric"] == "exact_match,strict-match"
    assert set(scoring(project, "mrpc")) == {"name", "scorer", "metric", "beside", "options"}


def test_an_evaluation_is_made_of_its_own_metrics_alone(project):
    assert metrics_modules(project, ["arc_easy"]) == []
    assert metrics_modules(project, ["mrpc", "arc_easy"]) == ["lowrank.evaluate.metrics.mrpc"]


def test_what_shapes_the_questions_that_are_asked(project, llama, bert):
    asking = {"limit": 40, "seed": 0, "sampling": "random", "max_new_tokens": None, "block": 8}
    assert asking_settings(project, llama, "arc_easy", 40) == asking
    assert asking_settings(project, llama, "gsm8k", None)["max_new_tokens"] == 64
    assert asking_settings(project, bert, "mrpc", None)["block"] == 16


def test_a_study_needs_every_configuration(project, llama, bert):
    files = study_evaluations(project, "table_4_2", llama, RESULT)
    names = decomposition_names(project, "table_4_2", llama)
    assert files == [f"r/{llama.name}/{name}.json" for name in names]
    assert names[0] == "dense" and len(set(names)) == len(names)
    assert f"r/{bert.name}/dense.json" in study_evaluations(
        project, "bert_figure_3_6", bert, RESULT
    )


def test_what_shapes_a_study_s_scores_is_what_it_shows(project_of, llama):
    """Another benchmark's settings, or another study's configurations, are no part of it."""

    def shape(study="figure_3_7", model=llama, **changes):
        return shaped_by(project_of(**changes), study, model)

    plain = shape()
    assert list(plain["benchmarks"]) == ["arc_easy"]
    asked = SMALL["benchmarks"]
    for changes in (
        {"benchmarks": asked | {"arc_easy": {"limit": 48}}},
        {"limits": {"figure_3_7": {"arc_easy": 80}}},
        {"limits": {"table_4_2": {"arc_easy": 80}}},  # both ask the dense model
        {"asked": {llama.name: {"dense": {"arc_easy": 80}}}},
        {"dtype": "bfloat16"},
        {"seed": 7},
        {"sampling": "first"},
    ):
        assert shape(**changes) != plain
    for changes in (
        {"benchmarks": asked | {"mrpc": {"limit": 8}, "gsm8k": {"max_new_tokens": 32}}},
        {"limits": {"bert_figure_3_6": {"mrpc": 80}, "table_4_2": {"gsm8k": 80}}},
        {"asked": {llama.name: {"dense": {"gsm8k": 80}}, "minilm-l6": {"dense": {"mrpc": 80}}}},
        {"studies": ["table_4_2", "figure_3_7", "bert_figure_3_6"]},
        {"scale": "smoke"},
    ):
        assert shape(**changes) == plain


def test_the_scripts_behind_a_study_s_scores(project, llama, bert):
    causal = shaping_scripts(project, "table_4_2", llama)
    assert {"prepare_requests", "evaluate", "fetch_benchmark"} < set(causal)
    assert {name: own for name, own in causal.items() if own} == {
        "factorize_layer": ["lowrank.decompose.svd"]
    }
    encoder = shaping_scripts(project, "bert_figure_3_6", bert)
    assert encoder["evaluate_encoder"] == ["lowrank.evaluate.metrics.mrpc"]
    assert "evaluate" not in encoder
    assert all(Path(f"workflow/scripts/{name}.py").exists() for name in {**causal, **encoder})


def test_calibrated_methods_are_shaped_by_their_set_and_its_text(project_of, llama):
    project = project_of(studies=["methods", "bert_figure_3_6"])
    shape = shaped_by(project, "methods", llama)
    assert list(shape["calibrations"]) == ["prose"]
    assert shape["calibrations"]["prose"]["text"]["held_out"] == 0.2
    assert shape["ranks"]["svd_llm.prose"] > shape["ranks"]["asvd.prose"]
    scripts = shaping_scripts(project, "methods", llama)
    assert {"fetch_text", "prepare_calibration", "gather_moments"} < set(scripts)
    modules = [f"lowrank.decompose.{name}" for name in ("calibrated", "channels", "svd")]
    assert scripts["factorize_layer"] == scripts["compress_in_sequence"] == modules
    assert method_module("lord.prose") == method_module("rom") == modules[0]


def test_what_a_factorization_reads_of_the_dense_model():
    paths = {rule: f"{{model}}/{rule}/{{calibration}}" for rule in WALKS.values()}
    assert layer_inputs("small", "svd_llm.prose", paths.get) == ["small/gather_moments/prose"]
    assert layer_inputs("small", "taylor.prose", paths.get) == ["small/gather_gradients/prose"]
    assert layer_inputs("small", "tucker", paths.get) == []
    assert layer_inputs("small", "rom.prose", paths.get) == []
    assert SEQUENTIAL == "rom|rom_bias"


def test_rows_and_labels_of_a_study(project_of, project, llama):
    rows = study_rows(project, "figure_3_7", llama)
    assert [row["position"] for row in rows if row["position"] is not None]
    first = study_rows(project, "table_4_2", llama)[0]
    assert first == {
        "series": "",
        "label": "6%",
        "position": None,
        "method": "tucker",
        "rank": 1,
        "decomposition": "tucker-r1-l3.28-all",
    }
    arc, gsm8k = described_benchmarks(project, "table_4_2", llama)
    accuracy = Metric.from_config("acc").as_record()
    assert arc == ("arc_easy", {"label": "ARC-Easy", "metric": accuracy})
    assert gsm8k[0] == "gsm8k" and gsm8k[1]["label"] == "GSM8K, 64 tokens at most"
    assert gsm8k[1]["metric"]["metric"] == "exact_match,strict-match"
    studies = ["table_4_2", "unseen", "bert_figure_3_6"]
    uncapped = project_of(benchmarks={"gsm8k": {}, "mrpc": {}}, studies=studies)
    assert benchmark_label(uncapped, "gsm8k") == "GSM8K"


def test_causal_models_are_measured_without_what_leaves_layers_out(project, llama, bert):
    assert profiled_study(project, llama) == "table_4_2" and profiled_study(project, bert) is None
    assert profiled_benchmarks(project, llama) == ["arc_easy", "gsm8k"]
    assert profiled_benchmarks(project, bert) == []
    assert profiled_requests(project, llama, "{model}/{benchmark}")[0] == f"{llama.name}/arc_easy"
    files = study_records(project, {}, "table_4_2", llama.name, "{model}/{decomposition}")
    assert files[0] == f"{llama.name}/dense" and not any("/drop-" in path for path in files)


def test_what_a_fake_quantization_is_stored_in_is_not_measured(project_of):
    project = project_of(
        models=["smollm2-135m-instruct"], studies=["quantization"], benchmarks={"arc_easy": {}}
    )
    name = "smollm2-135m-instruct"
    model = project.models[name]
    files = study_records(project, {}, "quantization", name, "{decomposition}")
    every = decomposition_names(project, "quantization", model)
    assert set(every) - set(files) == {own for own in every if own.endswith("+spqr_like")}
    assert len(files) == 12 and len(set(files)) == 12
    assert training_records(project, {}, "quantization", name, "{decomposition}") == []


def test_adapters_are_trained_over_compressed_models_of_plain_numbers(project_of):
    step = {"batch": 1, "length": 8, "rank": 2, "checkpointing": False, "rounds": 5}
    project = project_of(
        models=["smollm2-135m-instruct"],
        studies=["quantization"],
        benchmarks={"arc_easy": {}},
        profile={"study": "quantization", "fine_tuning": step},
    )
    name = "smollm2-135m-instruct"
    files = training_records(project, {}, "quantization", name, "t/{model}/{decomposition}")
    assert len(files) == 3 and not any("+" in path or "dense" in path for path in files)
    assert training_records(project, {name: Path()}, "quantization", name, "") == []
    settings = fine_tuning_settings(project)
    assert settings["entry"]["method"] == settings["quantization"] == "nf4"
    assert settings["entry"]["nested"] and settings["batch"] == 1 and settings["device"] == "cpu"
    assert "fine_tuning" not in profile_settings(project)


def test_what_is_measured_does_not_shape_a_measurement(project_of):
    project = project_of(profile={"study": None, "benchmarks": ["gsm8k"], "rows": 2})
    model = project.models["smollm2-135m-instruct"]
    assert profiled_study(project, model) is None
    assert profiled_benchmarks(project, model) == ["gsm8k"]
    settings = profile_settings(project)
    assert not {"study", "benchmarks"} & set(settings)
    assert settings["rows"] == 2 and settings["gpus"] == 1 and settings["dtype"] == "float32"


def test_the_first_model_of_a_family_judges_the_claims(project_of):
    project = project_of(models=["llama-2-7b", "smollm2-135m-instruct", "minilm-l6"])
    names = {family: model.name for family, model in judged_models(project).items()}
    assert names == {"llama": "llama-2-7b", "bert": "minilm-l6"}
    run = scopes_of(project)["run"]
    assert run["design_space"] == "f/table_3_1.csv"
    made = run["models"]
    assert made["llama"]["label"] == "Llama-2-7B" and made["llama"]["device_type"] == "cpu"
    assert made["llama"]["benchmarks"] == ["ARC-Easy", "GSM8K", "MRPC"]
    assert made["llama"]["studies"]["unseen"] == "r/llama-2-7b/unseen.csv"
    assert made["llama"]["profiles"] == ["r/llama-2-7b/table_4_2.profiles.csv"]
    assert made["bert"]["profiles"] == []
    evidence = claim_evidence(project, output_of, **OTHERS)
    named = [path for entry in made.values() for path in entry["studies"].values()]
    assert {
        *named,
        *made["llama"]["profiles"],
        run["design_space"],
    } <= set(evidence)
    evaluations = claim_evaluations(project, output_of)
    assert {"r/minilm-l6/dense.csv", "r/minilm-l6/dense.json"} <= set(evaluations)
    assert not set(evaluations) & set(evidence)
    assert not any("smollm2" in path for path in [*evidence, *evaluations])


def scopes_of(project, **others):
    """The scopes of a project by name, in their order."""
    entries = claim_scopes(project, output_of, **{**OTHERS, **others})
    return {entry["name"]: entry for entry in entries}


OTHERS = {"authors": "paper/authors", "references": {}, "kept": {}}


DATA = "paper/authors/"


def test_the_authors_data_is_a_scope_that_their_files_shape(project):
    scope = scopes_of(project)["authors"]
    assert list(scopes_of(project))[:2] == ["authors", "run"]
    assert list(scope["models"]) == ["llama"]
    entry = scope["models"]["llama"]
    assert entry["model"] == "llama-2-7b-chat" and entry["device_type"] == "cuda"
    assert entry["studies"] == {"table_4_2": "r/authors/scores.csv"}
    assert entry["profiles"] == ["r/authors/costs.csv"]
    evidence = claim_evidence(project, output_of, **OTHERS)
    read = {"sources.yaml", *(f"{name}.csv" for name in TABLES)}
    assert {path for path in evidence if path.startswith(DATA)} == {DATA + name for name in read}
    assert {*entry["studies"].values(), *entry["profiles"]} <= set(evidence)


def test_each_device_that_was_measured_elsewhere_shows_costs(project):
    folder = Path("references/nvidia-h100-80gb-hbm3/llama-2-7b-random")
    references = {"reference-h100": folder}
    made = scopes_of(project, references=references)
    assert list(made)[-3:] == ["run", "reference-h100", "kept-paper"]
    scope = made["reference-h100"]
    assert scope["title"] == "Measured elsewhere (nvidia-h100-80gb-hbm3)"
    assert scope["short"] == "h100-80gb"
    (entry,) = scope["models"].values()
    assert entry["model"] == "llama-2-7b-random" and entry["device_type"] == "cuda"
    assert entry["studies"] == {} and "ARC-Easy" in entry["benchmarks"]
    assert entry["profiles"] == ["r/reference-h100/table_4_2.profiles.csv"]
    evidence = claim_evidence(project, output_of, **{**OTHERS, "references": references})
    assert entry["profiles"][0] in evidence


def test_kept_runs_of_other_scales_stand_beside_a_run(project_of):
    kept = {"laptop": "k/laptop/claims.json", "paper": "k/paper/claims.json"}
    none = scopes_of(project_of(scale="laptop"))
    assert "make reference" in none["kept-paper"]["reason"] and "ledger" not in none["kept-paper"]
    both = scopes_of(project_of(scale="laptop"), kept=kept)
    assert "kept-laptop" not in both and both["kept-paper"]["ledger"] == "k/paper/claims.json"
    paper = scopes_of(project_of(scale="paper"), kept=kept)
    assert list(paper)[-1] == "kept-laptop" and "kept-paper" not in paper
    smoke = project_of(scale="smoke")
    assert list(scopes_of(smoke, kept=kept))[-2:] == ["kept-laptop", "kept-paper"]
    assert set(kept.values()) <= set(claim_evidence(smoke, output_of, **{**OTHERS, "kept": kept}))


def test_kept_runs_go_by_the_folder_of_their_scale(tmp_path):
    for scale in ("paper", "laptop"):
        (tmp_path / scale).mkdir()
        (tmp_path / scale / "claims.json").write_text("{}")
    (tmp_path / "a-device" / "a-model").mkdir(parents=True)
    found = find_kept_runs(tmp_path)
    assert found == {name: str(tmp_path / name / "claims.json") for name in ("laptop", "paper")}


def test_documents_go_by_the_name_of_their_figure():
    made = [
        Drawing("a", ("f/a/figure_4_1.csv", "f/a/figure_4_1.pdf")),
        Drawing("a", ("f/b/figure_4_1.pdf", "f/b/figure_4_1.png")),
    ]
    assert documents(made) == {"figure_4_1": ["f/a/figure_4_1.pdf", "f/b/figure_4_1.pdf"]}


FIGURES = {
    "table_4_2": ["f/{model}/t.csv", "f/{model}/t.pdf"],
    "accuracy_figure": ["f/{model}/{figure}.pdf"],
    "efficiency_figure": ["f/{model}/{efficiency_figure}.pdf"],
    "collect_accuracy": ["r/{model}/{study}.csv"],
    "schematic": ["f/{schematic}.pdf"],
    "table_costs": ["f/{model}/costs_{study}.pdf"],
}


def test_a_run_draws_each_thing_once(project_of, project):
    def made(project):
        return drawings(project, ["reference-gpu"], lambda rule: FIGURES.get(rule, [f"f/{rule}"]))

    drawn = made(project)
    files = [path for drawing in drawn for path in drawing.files]
    assert len(files) == len(set(files))
    count = Counter(drawing.rule for drawing in drawn)
    assert count["efficiency_figure"] == 9 and count["schematic"] == 3 and count["table_1_1"] == 1
    tables = [drawing.files[0] for drawing in drawn if drawing.rule == "table_4_2"]
    assert tables == ["f/llama-2-7b/t.csv", "f/smollm2-135m-instruct/t.csv"]
    assert "f/minilm-l6/figure_3_6.pdf" in files and "f/reference-gpu/figure_4_4.pdf" in files
    assert "f/authors/figure_4_1.pdf" in files and "f/authors/figure_4_4.pdf" in files
    assert "r/smollm2-135m-instruct/unseen.csv" in files  # it has no figure: its table is made
    costs = [drawing.files for drawing in drawn if drawing.rule == "table_costs"]
    assert costs == [("f/smollm2-135m-instruct/costs_unseen.pdf",)]
    without = made(project_of(studies=["figure_3_7", "bert_figure_3_6"]))
    assert "table_4_2" not in {drawing.rule for drawing in without}
    measured = [drawing.files for drawing in without if drawing.rule == "efficiency_figure"]
    assert len(measured) == 3  # of the reference alone


def test_a_figure_shows_the_study_of_its_model(project, llama, bert):
    assert figure_names(project) == ["figure_3_6", "figure_3_7", "figure_4_1"]
    assert figure_study(project, "figure_3_6", bert) == "bert_figure_3_6"
    assert figure_study(project, "figure_4_1", llama) == "table_4_2"
    with pytest.raises(LowrankError, match="no study of the run shows figure_3_7 of model minilm"):
        figure_study(project, "figure_3_7", bert)


def test_a_figure_has_what_others_published_of_its_study_beside_it(project_of):
    asked = {"perplexity_wikitext2": {}, "winogrande": {}}
    made = project_of(models=["llama-7b"], studies=["published_7b"], benchmarks=asked)
    own = scores_shown(made, "llama-7b", "figure_published", output_of, "paper/authors")
    assert own.beside == ("paper/published_7b.csv",)


def test_a_figure_of_scores_has_the_authors_beside_it_where_it_shows_their_study(project, llama):
    def shown(name, figure):
        return scores_shown(project, name, figure, output_of, "paper/authors")

    own = shown(llama.name, "figure_4_1")
    assert own.data == f"r/{llama.name}/table_4_2.csv" and own.beside == ("r/authors/scores.csv",)
    assert (own.title, own.category) == (llama.label, llama.name)
    assert own.subtitle == subtitle(project, "table_4_2", llama) and own.look_for
    assert shown(llama.name, "figure_3_7").beside == ()
    theirs = shown("authors", "figure_4_1")
    assert (theirs.data, theirs.beside) == ("r/authors/scores.csv", ())
    assert theirs.title == "The authors' data, Llama-2-7B-chat on 4 × NVIDIA A100 80GB"
    assert theirs.category == "The authors' data" and "others" in theirs.subtitle


def test_figures_of_costs_have_the_authors_beside_them_where_they_show_their_study(
    project, project_of, llama
):
    references = {"reference-gpu": Path("paper/reference/gpu/llama-2-7b")}

    def shown(name, project=project):
        return costs_shown(project, references, name, output_of, "paper/authors")

    own = shown(llama.name)
    assert own.data == f"r/{llama.name}/table_4_2.profiles.csv"
    assert own.fits == f"r/{llama.name}/table_4_2.fits.json"
    assert own.beside == ("r/authors/costs.csv",) and own.title == llama.label
    other = shown("reference-gpu")
    assert other.title == "Llama-2-7B" and other.category == "reference-gpu"
    assert other.beside == ("r/authors/costs.csv",)
    theirs = shown("authors")
    assert (theirs.data, theirs.fits) == ("r/authors/costs.csv", "r/authors/fits.json")
    assert theirs.beside == () and theirs.title == "The authors' data, Llama-2-7B-chat"
    another = project_of(profile={"study": "figure_3_7"})
    assert shown(llama.name, another).beside == ()


def test_what_the_authors_measured(project, project_of):
    folder = "paper/authors"
    assert authors_model(project, folder).name == "llama-2-7b-chat"
    title = f"{authors_title(project, folder)} on {authors_device(folder)}"
    assert title == "The authors' data, Llama-2-7B-chat on 4 × NVIDIA A100 80GB"
    labels = authors_labels(project, folder)
    assert labels["tucker-r1-l3.18.32-all"] == "9%" and labels["tucker-r1-l1-32-all"] == "96%"
    # Every one of theirs but the dense model; what leaves layers out is not theirs.
    study = project.registry.entry("study", "table_4_2")
    assert list(labels.values()) == list(study["configurations"])
    assert labels == authors_labels(project_of(studies=["figure_3_7", "bert_figure_3_6"]), folder)
    names = authors_benchmarks(project)
    assert names["arc_easy"] == "ARC-Easy" and len(names) == 7


def test_a_subtitle_says_how_many_benchmarks_are_there(project, llama, bert, monkeypatch):
    assert subtitle(project, "bert_figure_3_6", bert).endswith("; MRPC")
    assert subtitle(project, "table_4_2", llama).endswith("; 2 of 2 benchmarks")
    monkeypatch.setenv("LOWRANK_HUB", "0")
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    laptop = merge(read_yaml(f"config/{name}.yaml") for name in ("config", "laptop"))
    assert subtitle(Project(laptop, "config"), "table_4_2", llama).endswith("; 5 of 6 benchmarks")


def test_layer_lists_are_carried_over_to_another_depth(project, llama):
    assert is_carried_over(project, "table_4_2", llama)
    assert not is_carried_over(project, "table_4_2", project.model("llama-2-7b"))
    rows = table_4_2_rows(project, llama)
    assert [row["label"] for row in rows][:2] == ["6%", "9%"] and len(rows) == 10
    assert rows[0]["name"] == "tucker-r1-l3.28-all" and rows[0]["thesis_reduction"] == 6


def test_a_table_has_the_rows_of_the_thesis_first(project):
    counted = [row["name"] for row in table_1_1_rows(project)]
    assert counted == ["resnet-50", *(row["name"] for row in table_3_1_rows(project))]
    rows = {row["name"]: row for row in table_4_1_rows(project)}
    assert len(rows) == 8 and list(rows)[-1] == "mrpc"
    assert rows["arc_easy"]["used"] and rows["arc_easy"]["limits"] == [40]
    assert not rows["hellaswag"]["used"] and rows["hellaswag"]["limits"] == []


def test_what_the_report_is_gathered_from(project, llama):
    made = fact_models(project, output_of)
    causal, encoder = made
    assert causal["quantized"] and not encoder["quantized"]
    assert causal["fits"] == f"r/{llama.name}/table_4_2.fits.json" and encoder["fits"] is None
    assert [entry["benchmark"] for entry in encoder["benchmarks"]] == ["mrpc"]
    assert encoder["benchmarks"][0]["metric"]["averaging"] == "average_precision"
    assert causal["evaluations"] == f"r/{llama.name}"
    studies = {study["study"]: study for study in causal["studies"]}
    assert studies["table_4_2"]["carried_over"] and studies["table_4_2"]["figure"] == "figure_4_1"
    tables = fact_tables(project, output_of)
    assert tables["table_4_2"] == "f/llama-2-7b/table_4_2.csv"
    files = fact_files(project, output_of)
    assert len(files) == len(set(files)) and files[:3] == list(tables.values())
    assert {causal["fits"], causal["manifest"], studies["unseen"]["table"]} <= set(files)
    evaluations = fact_evaluations(project, output_of)
    assert not set(files) & set(evaluations) and None not in files
    assert {f"r/{llama.name}/dense.json", f"r/{llama.name}/dense.csv"} <= set(evaluations)


def test_what_the_deviations_need(project):
    made = fact_run(project)
    assert len(made["thesis_benchmarks"]) == 7  # those that the run does not use, too
    assert made["thesis_benchmarks"][0] == ("arc_easy", "ARC-Easy")
    assert made["profile"] == profile_settings(project) and made["unavailable"] == []


def test_a_figure_of_the_report_says_what_made_it():
    drawn = [
        Drawing("a", ("f/m/x.csv", "f/m/x.pdf", "f/m/x.png")),
        Drawing("b", ("f/thesis/y.pdf",)),
        Drawing("c", ("r/m/z.csv",)),
    ]
    assert report_inputs({"facts.json": "r/facts.json"}, drawn, "{}.py".format) == {
        "facts.json": {"path": "r/facts.json"},
        "m/x.pdf": {"path": "f/m/x.pdf", "rule": "a", "script": "a.py", "data": "f/m/x.csv"},
        "thesis/y.pdf": {"path": "f/thesis/y.pdf", "rule": "b", "script": "b.py", "data": None},
    }


def test_measurements_of_elsewhere_go_by_their_device(project, tmp_path):
    for place in ("gpu/llama-2-7b", "gpu/llama-2-70b-random", "other/llama-2-7b"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "dense.json").touch()
    (tmp_path / "empty/llama-2-7b").mkdir(parents=True)
    made = find_references(tmp_path, project)
    names = ["reference-gpu-llama-2-70b-random", "reference-gpu-llama-2-7b", "reference-other"]
    assert list(made) == names
    assert made["reference-other"] == tmp_path / "other/llama-2-7b"
    assert reference_model(made, "reference-other", project).name == "llama-2-7b"
    assert reference_model(made, "minilm-l6", project).name == "minilm-l6"
    place = tmp_path / "other/llama-2-7b"
    (place / "a.json").touch()
    records = study_records(project, made, "table_4_2", "reference-other", "")
    assert records == [f"{place}/a.json", f"{place}/dense.json"]
    assert efficiency_study(project, made, "reference-other") == "table_4_2"
    assert efficiency_study(project, made, "minilm-l6") is None
    (tmp_path / "gpu/unheard-of").mkdir()
    (tmp_path / "gpu/unheard-of/dense.json").touch()
    with pytest.raises(LowrankError, match=f"^{tmp_path}: config: models: .*does not exist"):
        find_references(tmp_path, project)
