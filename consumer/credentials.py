"""Secrets that systemd hands over as files: `$CREDENTIALS_DIRECTORY/<NAME OF THE VARIABLE>` (systemd.exec(5)).

Called by the settings. A file is read by this process alone, which a variable of the environment is not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from consumer.errors import ConfigurationError

FOLDER = "CREDENTIALS_DIRECTORY"


class Credentials(PydanticBaseSettingsSource):
    """The secret settings that have a file there; one that is empty counts as not set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file's text without the blanks around it; None when there is none.

        Raises:
            ConfigurationError: there is one, and it cannot be read.
        """
        return _read(Path(os.environ[FOLDER]) / field_name.upper()) or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Value by field name."""
        if not os.environ.get(FOLDER):
            return {}
        fields = [(name, field) for name, field in self.settings_cls.model_fields.items() if _secret(field)]
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}


def _secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigurationError(
            f"{path.name}: its credential {path} cannot be read ({error.strerror}). "
            f"Let this user read it, or unset {FOLDER}."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{path.name}: its credential {path} is not UTF-8 text. Write the value anew."
        ) from None
