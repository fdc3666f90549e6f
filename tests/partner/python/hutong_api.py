"""The generated modules under short names; run.sh generates them from proto/."""

import types

_PACKAGE = "hutong.merchant.v1"


def _load(name, service=True):
    import importlib

    stem = f"{_PACKAGE}.{name}_service" if service else f"{_PACKAGE}.{name}"
    module = types.ModuleType(name)
    parts = [importlib.import_module(f"{stem}_pb2")]
    if service:
        parts.append(importlib.import_module(f"{stem}_pb2_grpc"))
    for part in parts:
        module.__dict__.update({key: value for key, value in vars(part).items() if not key.startswith("__")})
    return module


sale, voucher, promotion, event, report = map(_load, ["sale", "voucher", "promotion", "event", "report"])
common = _load("common", service=False)
