"""RoBERTa: BERT's layers. Positions up to the number of its padding token are reserved."""

from dataclasses import replace

from lowrank.space.families import bert

FAMILY = replace(
    bert.FAMILY,
    defaults={"pad_token_id": 1},
    last_reserved="pad_token_id",
    classes={
        "RobertaModel": ("encoder", ""),
        "RobertaForQuestionAnswering": ("question_answering", "roberta."),
    },
)
