"""`make demo`: a broker of its own with a throw-away home, and the demonstration against it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from dev.running import CONSENT_BROKER, BrokerNotRunningError, running_broker


def main(arguments: list[str]) -> int:
    """Run `consent-broker demo` with `arguments`; return its exit code."""
    with tempfile.TemporaryDirectory(prefix="consent-broker-demo-") as home:
        try:
            with running_broker(Path(home)) as broker:
                return subprocess.run(
                    [*CONSENT_BROKER, "demo", *arguments], env=broker.environment, check=False
                ).returncode
        except BrokerNotRunningError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
