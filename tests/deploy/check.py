"""Checks the files of deploy/ that no compiler reads: YAML is well formed, chart and compose file say what they must.

    python3 tests/deploy/check.py deploy        needs PyYAML
"""

import pathlib
import re
import sys

import yaml


def rendered(text):
    """A chart's template with every value filled in by a word, as far as YAML is concerned."""
    lines = []
    for line in text.splitlines():
        if re.fullmatch(r"\s*\{\{-?.*-?\}\}\s*", line):
            continue  # control flow stands on lines of its own
        # What a template makes of several lines is one word here.
        lines.append(re.sub(r"\{\{-? *.*?\}\}", "7712", line))
    return "\n".join(lines)


def check(deploy):
    failures = []

    def expect(holds, what):
        if not holds:
            failures.append(what)

    for path in sorted(deploy.rglob("*.y*ml")):
        text = path.read_text(encoding="utf-8")
        try:
            documents = list(yaml.safe_load_all(rendered(text) if "templates" in path.parts else text))
            expect(documents and all(documents), f"{path}: empty")
        except yaml.YAMLError as error:
            failures.append(f"{path}: {error}")

    compose = yaml.safe_load((deploy / "docker/compose.yml").read_text(encoding="utf-8"))
    nodes = {name: service for name, service in compose["services"].items() if "build" in service}
    expect(len(nodes) == 3, "compose: a street of three")
    volumes = [volume for node in nodes.values() for volume in node["volumes"]]
    expect(len(set(volumes)) == 3, "compose: each node has a volume of its own")
    expect(all("ports" not in node for node in nodes.values()), "compose: no node's port is published")

    chart = yaml.safe_load((deploy / "helm/hutong/Chart.yaml").read_text(encoding="utf-8"))
    workspace = (deploy / "../Cargo.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', workspace, re.MULTILINE).group(1)
    expect(chart["appVersion"] == version, f"chart: appVersion is not {version}")
    values = yaml.safe_load((deploy / "helm/hutong/values.yaml").read_text(encoding="utf-8"))
    for template in (deploy / "helm/hutong/templates").glob("*.yaml"):
        for name in re.findall(r"\.Values\.([\w.]+)", template.read_text(encoding="utf-8")):
            value = values
            for part in name.split("."):
                expect(isinstance(value, dict) and part in value, f"{template.name}: no value {name}")
                value = value.get(part, {}) if isinstance(value, dict) else {}
    stateful = yaml.safe_load(rendered((deploy / "helm/hutong/templates/statefulset.yaml").read_text(encoding="utf-8")))
    expect(stateful["spec"]["replicas"] == 1, "chart: two nodes of one shop would fork its log")

    rules = yaml.safe_load((deploy / "prometheus/alerts.yml").read_text(encoding="utf-8"))
    for rule in rules["groups"][0]["rules"]:
        expect(rule["labels"]["severity"] in ("page", "ticket"), f"{rule['alert']}: severity")
        expect(rule["annotations"]["summary"], f"{rule['alert']}: summary")
    return failures


def main():
    failures = check(pathlib.Path(sys.argv[1]))
    print("\n".join(failures) or "deployment files: sound")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
