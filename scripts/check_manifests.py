"""What schemas do not see in k8s/ and below: that the objects fit each other, the program and its documents.

    check_manifests.py REPOSITORY [LIFEBOAT]

With the program's path its own `config check` reads the environment that each pod would have. Needs PyYAML.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

import yaml

SECRETS = "/run/lifeboat"


def load(repository):
    objects = []
    for path in sorted(glob.glob(os.path.join(repository, "k8s", "**", "*.yaml"), recursive=True)):
        with open(path, encoding="utf-8") as file:
            objects += [document for document in yaml.safe_load_all(file) if document]
    objects = [o for o in objects if o["kind"] != "Kustomization"]
    named = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    assert len(named) == len(objects), "two objects have the same name"
    return named


def exit_codes(repository):
    with open(os.path.join(repository, "Sources/Core/ExitCode.swift"), encoding="utf-8") as file:
        return {int(code): name for name, code in re.findall(r"case (\w+) = (\d+)", file.read())}


def check_references(where, pod, objects, repository):
    with open(os.path.join(repository, "k8s", "README.md"), encoding="utf-8") as file:
        made_by_hand = set(re.findall(r"kubectl create secret generic (\S+)", file.read()))
    assert ("ServiceAccount", pod["serviceAccountName"]) in objects, f"{where}: no such service account"
    for volume in pod["volumes"]:
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            assert name in made_by_hand, f"{where}: k8s/README.md does not say how to make the Secret {name}"
        elif "emptyDir" in volume:
            assert volume["emptyDir"].get("sizeLimit"), f"{where}: {volume['name']} may fill the node's disk"
        else:
            name = volume["persistentVolumeClaim"]["claimName"]
            assert ("PersistentVolumeClaim", name) in objects, f"{where}: no such volume claim: {name}"
    for container in pod["containers"]:
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, f"{where}: volumes and mounts differ"
        for source in container["envFrom"]:
            assert ("ConfigMap", source["configMapRef"]["name"]) in objects, f"{where}: no such ConfigMap"


def check_security(where, pod):
    context = pod["securityContext"]
    assert context["runAsNonRoot"] and context["seccompProfile"]["type"] == "RuntimeDefault", where
    assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False, where
    for container in pod["containers"]:
        inner = container["securityContext"]
        assert inner["readOnlyRootFilesystem"] and inner["allowPrivilegeEscalation"] is False, where
        assert inner["capabilities"] == {"drop": ["ALL"]}, where


def check_policy(where, job, codes):
    """What another attempt can mend must not fail the job at once, and what it cannot must."""
    final = set()
    for rule in job.get("podFailurePolicy", {}).get("rules", []):
        values = set(rule.get("onExitCodes", {}).get("values", []))
        assert values <= set(codes), f"{where}: {values - set(codes)} are no exit codes of the program"
        if rule["action"] == "FailJob":
            final |= values
    if "podFailurePolicy" in job:
        curable = {"done", "source", "store", "notReplicated", "thawRequested", "locked", "terminated"}
        assert final == {code for code, name in codes.items() if name not in curable}, f"{where}: fails at {final}"
    else:
        assert job["backoffLimit"] == 0, f"{where}: is tried again whatever the exit code"


def environment(container, objects):
    variables = {}
    for source in container["envFrom"]:
        variables.update(objects["ConfigMap", source["configMapRef"]["name"]]["data"])
    for variable in container["env"]:
        variables[variable["name"]] = variable.get("value", "5d7b2f7e-0000-4000-8000-000000000000")
    return variables


def make_keys(directory):
    """Files in the places where the pods' Secrets would put them."""
    for name in ("database", "recipients", "identities"):
        os.mkdir(os.path.join(directory, name))
    for name, content in (("password", "secret"), ("ca.crt", "")):
        with open(os.path.join(directory, "database", name), "w", encoding="ascii") as file:
            file.write(content)
    private = os.path.join(directory, "identities", "clinic-2025.pem")
    public = os.path.join(directory, "recipients", "clinic-2025.pem")
    subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072",
                    "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)


def check_configuration(where, container, objects, lifeboat, directory):
    variables = {
        name: value.replace(SECRETS, directory) for name, value in environment(container, objects).items()}
    done = subprocess.run(
        [lifeboat, "config", "check"], env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, f"{where}: the program refuses its environment: {done.stdout.decode()}"


def main():
    repository, *lifeboat = sys.argv[1:]
    objects = load(repository)
    codes = exit_codes(repository)
    assert not any(kind == "Secret" for kind, _ in objects), "a Secret's content does not belong here"
    with tempfile.TemporaryDirectory() as directory:
        if lifeboat:
            make_keys(directory)
        for (kind, name), item in objects.items():
            assert "namespace" not in item["metadata"], f"{name}: names a namespace"
            if kind != "CronJob":
                continue
            assert len(name) <= 52, f"{name}: too long for the names of its jobs"
            job = item["spec"]["jobTemplate"]["spec"]
            pod = job["template"]["spec"]
            check_references(name, pod, objects, repository)
            check_security(name, pod)
            check_policy(name, job, codes)
            for container in pod["containers"]:
                if lifeboat:
                    check_configuration(name, container, objects, lifeboat[0], directory)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as problem:
        sys.exit(f"k8s: {problem}")
