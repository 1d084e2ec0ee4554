"""Where traces go, if anywhere: OpenTelemetry's libraries are an extra, loaded when asked for."""

from typing import TYPE_CHECKING

from broker.settings import SettingsError

if TYPE_CHECKING:
    from broker.outbound.telemetry import Telemetry


def exporting(endpoint: str, version: str) -> "Telemetry | None":
    """The telemetry that sends to `endpoint`, or None without one.

    Raises `SettingsError` where the libraries are not installed.
    """
    if not endpoint:
        return None
    try:
        from broker.outbound.telemetry import Telemetry  # noqa: PLC0415 (an extra)
    except ImportError as error:
        message = (
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'consent-broker[otel]'"
        )
        raise SettingsError(message) from error
    return Telemetry.exporting(endpoint, version)
