# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, all of them from the environment, so that one release runs anywhere unchanged."""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured


def required(name: str) -> str:
    """The value of an environment variable that has no sensible default."""
    value = os.environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(f"The environment variable {name} is missing or empty; see README.md.")
    return value


def flag(name: str, *, default: bool) -> bool:
    """A switch: 1, true, yes, on or 0, false, no, off; anything else is refused rather than guessed."""
    value = os.environ.get(name, "").strip().lower()
    words = {"": default, "1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if value not in words:
        raise ImproperlyConfigured(f"The environment variable {name} is {value!r}, which is neither true nor false.")
    return words[value]


def words(text: str) -> list[str]:
    """The parts of a comma separated list, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = flag("DEBUG", default=False)
SECRET_KEY = required("SECRET_KEY")
# Old keys that are still accepted while the key is being changed: sessions survive.
SECRET_KEY_FALLBACKS = words(os.environ.get("SECRET_KEY_FALLBACKS", ""))
ALLOWED_HOSTS = words(required("ALLOWED_HOSTS"))

# Which release this is and in which slot it runs: shown on the page and by /health.
RELEASE = os.environ.get("SLIPWAY_RELEASE", "unreleased")
SLOT = os.environ.get("SLIPWAY_SLOT", "none")

INSTALLED_APPS = [
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "notes.apps.NotesConfig",
    "jobs.apps.JobsConfig",
]
MIDDLEWARE = [
    # First: who asks for health speaks to the socket and knows neither host names nor TLS.
    "board.health.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "board.urls"
WSGI_APPLICATION = "board.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request", "board.context.deployment"],
        },
    },
]

DATABASES = {
    "default": dj_database_url.parse(
        required("DATABASE_URL"),
        conn_max_age=int(os.environ.get("DATABASE_KEEP_SECONDS", "0")),
        # A connection that was kept is tried before it is used: the database may have restarted.
        conn_health_checks=True,
    )
}
DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# REDIS_URL is enough; CELERY_BROKER_URL is for those who keep the queue elsewhere.
# Celery and redis-py write a Unix socket differently: redis+socket:///path and unix:///path.
CELERY_BROKER_URL = (os.environ.get("CELERY_BROKER_URL") or os.environ.get("REDIS_URL", "")).replace(
    "unix://", "redis+socket://", 1
)
# Without a broker (a laptop, the test suite) tasks run at once, in the process that asks for them.
CELERY_TASK_ALWAYS_EAGER = not CELERY_BROKER_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A worker that is told to stop must not sit on tasks it has reserved but not begun.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
BEAT_SECONDS = float(os.environ.get("BEAT_SECONDS", "5"))

STATIC_URL = "/static/"
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT") or BASE_DIR / "collected")
MEDIA_URL = "/media/"
MEDIA_ROOT = Path(os.environ.get("MEDIA_ROOT") or BASE_DIR / "media")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Names that carry a hash of the content: any release's files can lie side by side and be cached for ever.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
# The web server is another user than the application and must be able to read uploads, whatever the umask.
FILE_UPLOAD_PERMISSIONS = 0o644
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o755
UPLOAD_LIMIT_BYTES = 5 * 1024 * 1024

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# TLS ends at the web server in front, which sets X-Forwarded-Proto itself and lets nobody else set it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = not DEBUG
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
SECURE_HSTS_SECONDS = int(os.environ.get("HSTS_SECONDS", "31536000"))
# These two speak for the whole domain: turn them off if some subdomain has no TLS.
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = flag("HSTS_SUBDOMAINS", default=True)
X_FRAME_OPTIONS = "DENY"

# To standard error, where systemd's journal takes it up.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO")},
    # Without this Django would mail exceptions to nobody and print nothing.
    "loggers": {"django": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
