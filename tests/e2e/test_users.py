"""Users, owners and the image itself."""

from __future__ import annotations

import json

import pytest

from tests.e2e.docker import IMAGE, Docker, Volumes, docker

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
SECRETS = r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PROXY|KEY)"
# What a final image has no business to hold.
UNWANTED = (
    "gcc cc g++ gfortran make pip pip3 curl wget git",
    "/root/.cache /root/.netrc /root/.pip /root/.config /etc/pip.conf /etc/xdg/pip /build /opt/qmrunner/bin/pip",
)


@pytest.mark.parametrize("user", ["10001:10001", "54321", "54321:0", "0"])
def test_any_user_works_on_fresh_volumes(containers: Docker, volumes: Volumes, user: str) -> None:
    """(11) Of the image, any other (whose group is 0 by default), and root without rights."""
    worker = containers.start(volumes, "--user", user)
    assert worker.sh("id -u").stdout.strip() == user.partition(":")[0]
    worker.put("/tmp/w.xyz", WATER)
    worker.succeeded(worker.submit("xtb", "/tmp/w.xyz"))


def test_a_volume_of_root_is_refused_with_the_command_that_helps(containers: Docker, volumes: Volumes) -> None:
    """(11) And that very command does help."""
    volumes.look("chown 0:0 /scratch && chmod 755 /scratch && touch /scratch/.keep")
    refused = containers.start(volumes, healthy=False)
    assert refused.ended() == 4
    said = refused.output()
    assert "volume_not_writable: user 10001:10001 cannot write /scratch (owner 0:0, mode 755)" in said
    fix = next(line.partition("fix: ")[2] for line in said.splitlines() if "fix: " in line)
    assert fix.startswith(
        "docker run --rm --user 0 --entrypoint chown -v VOLUME_OR_FOLDER:/scratch IMAGE -R 10001:10001"
    )
    words = fix.replace("VOLUME_OR_FOLDER", volumes.name("scratch")).replace("IMAGE", IMAGE).split()
    docker(*words[1:])
    docker("start", refused.name)
    refused.healthy()


def test_the_image_starts_with_the_variables_of_a_pod(containers: Docker, volumes: Volumes) -> None:
    """Kubernetes adds these beside a service named qmrunner-api; `progress` is what deploy/k8s sets."""
    links = {
        "QMRUNNER_API_SERVICE_HOST": "10.0.0.1",
        "QMRUNNER_API_SERVICE_PORT": "8642",
        "QMRUNNER_API_PORT": "tcp://10.0.0.1:8642",
        "QMRUNNER_API_PORT_8642_TCP_ADDR": "10.0.0.1",
        "QMRUNNER_TEE": "progress",
    }
    worker = containers.start(
        volumes, *(word for name, value in links.items() for word in ("--env", f"{name}={value}"))
    )
    worker.put("/tmp/w.xyz", WATER)
    worker.succeeded(worker.submit("xtb", "/tmp/w.xyz"))
    assert "TOTAL ENERGY" not in worker.output()


def test_an_entrypoint_passes_any_command_on(containers: Docker) -> None:
    """A shell, a full command, and a bare command of qmrunner."""
    run = ("run", "--rm", "--network", "none", IMAGE)
    assert docker(*run, "sh", "-c", "ulimit -s; umask").stdout.split() == ["unlimited", "0027"]
    assert "Usage" in docker(*run, "qmrunner", "--help").stdout
    assert docker(*run, "health", check=False).returncode == 4
    assert docker(*run, "sh", "-c", "exit 7", check=False).returncode == 7


def test_the_image_is_small_and_holds_nothing_it_should_not(containers: Docker) -> None:
    """(16) Size, user, layers, no compiler, no cache, no secret."""
    (image,) = json.loads(docker("image", "inspect", IMAGE).stdout)
    print(f"{image['Size'] / 1e6:.0f} MB in {len(image['RootFS']['Layers'])} layers")
    assert image["Size"] <= 1.2e9
    assert len(image["RootFS"]["Layers"]) <= 8
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "qmrunner", "health"]
    assert set(config["Volumes"]) == {"/data", "/scratch", "/logs"}
    assert config["Labels"]["org.opencontainers.image.revision"] != "unknown"
    look = f"""
        for program in {UNWANTED[0]}; do command -v "$program"; done
        for path in {UNWANTED[1]}; do ls -d "$path" 2>/dev/null; done
        env | grep -iE '{SECRETS}'
        ls /var/lib/apt/lists /var/cache/apt 2>/dev/null | grep -vE '^$|^/|^archives$|^partial$|^lock$|^auxfiles$'
        grep -rhE 'https?://' /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d | grep -v ' http://deb.debian.org/'
        find / -xdev ! -user root -type f 2>/dev/null | grep -v '^/proc'
        exit 0"""
    found = docker("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh", IMAGE, "-c", look).stdout
    assert found == ""
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE).stdout
    assert "@" not in history.replace("tar.xz", ""), "a URL with a password?"
