"""`make demo`: a broker of its own with a throw-away home, and the demonstration against it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from dev.running import (
    CONSENT_BROKER,
    BrokerNotRunningError,
    broker_environment,
    free_port,
    running_broker,
)


def main(arguments: list[str]) -> int:
    """Run `consent-broker demo` with `arguments`; return its exit code."""
    with tempfile.TemporaryDirectory(prefix="consent-broker-demo-") as folder:
        home = Path(folder)
        environment = broker_environment(home, free_port(), {})
        try:
            with running_broker(home, environment):
                finished = subprocess.run(
                    [*CONSENT_BROKER, "demo", *arguments], env=environment, check=False
                )
        except BrokerNotRunningError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        return finished.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
