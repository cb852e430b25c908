"""Checks objects against the schemas that Kubernetes publishes, as the package kubernetes-validate carries them.

Reads one JSON object, {"versions": ["1.34.0"], "objects": [...]}, and prints another: what was checked, how often, and what is
wrong. Schemas are the strict ones: a field that Kubernetes doesn't know is wrong. Kinds of other projects have none here.
"""

import json
import sys

from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

asked = json.load(sys.stdin)
checked = 0
problems = []
unknown = set()
for version in asked["versions"]:
    for thing in asked["objects"]:
        try:
            validate(thing, version, strict=True)
            checked += 1
        except SchemaNotFoundError:
            unknown.add(thing["kind"])
        except ValidationError as error:
            path = ".".join(str(step) for step in error.path)
            problems.append(f"{version} {thing['kind']} {path}: {error.message}")
print(json.dumps({"checked": checked, "problems": problems, "unknown": sorted(unknown)}))
