"""A clone for each test: a container of its own, as warm as the one that it was cloned from.

    import pytest
    from wharf_clones import clone

    @pytest.fixture
    def database():
        with clone("warm", "-p", "5432") as one:      # wharf clone --keep-template=warm db 0, once
            yield psycopg.connect(host="127.0.0.1", port=one.port(5432), user="postgres")

    def test_boats(database):
        database.execute("delete from boats")         # nobody else sees it

Tests may run in parallel (pytest -n 8). The command is `wharf`, or what the variable WHARF says."""
import contextlib
import os
import shlex
import subprocess


def wharf(*arguments):
    """Runs one command; gives what it printed, or raises with what it complained of."""
    command = [*shlex.split(os.environ.get("WHARF", "wharf")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command} failed")
    return done.stdout.strip()


class Clone:
    def __init__(self, container):
        self.container = container

    def port(self, port):
        """The port of the host that leads to `port`."""
        return int(wharf("port", self.container, f"{port}/tcp").splitlines()[0].rpartition(":")[2])

    def run(self, *command):
        """Runs a command inside; gives what it printed."""
        return wharf("exec", self.container, *command)


@contextlib.contextmanager
def clone(source, *options):
    """A clone of a container or a template, which is gone afterwards."""
    container = wharf("clone", *options, source)
    try:
        yield Clone(container)
    finally:
        wharf("rm", "-f", "-v", container)
