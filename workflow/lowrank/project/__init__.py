"""The configuration of a run: registries, schemas, studies, and what rules ask of them."""
