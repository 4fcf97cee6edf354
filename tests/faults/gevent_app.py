"""A Django project under gevent: its view asks the ORM and the model; a greenlet measures how long the hub stalls."""

import asyncio
import json
import os
import time

import gevent
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

import mlshared

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
application = get_wsgi_application()

from django.db import connection, models  # noqa: E402 - not before the settings


class Known(models.Model):  # noqa: DJ008 - nobody prints it
    """Something in the database."""

    number = models.IntegerField()

    class Meta:
        app_label = "faults"


with connection.schema_editor() as editor:
    editor.create_model(Known)
Known.objects.bulk_create(Known(number=number) for number in range(3))

cancer = mlshared.get_model("cancer")
stalls = [0.0]


def tick():
    while True:
        began = time.perf_counter()
        gevent.sleep(0.002)
        stalls[0] = max(stalls[0], time.perf_counter() - began - 0.002)


gevent.spawn(tick)


def has_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def predict(request):
    version = cancer.current
    proba = version.predict_proba(json.loads(request.body))
    return JsonResponse(
        {
            "version": version.version,
            "proba": {str(name): p for name, p in proba.items()},
            "rows": Known.objects.filter(number__gte=0).count(),
            "loop": has_loop(),
            "pid": os.getpid(),
        }
    )


def stalled(request):
    """Return the longest stall since the last time this was asked, in seconds."""
    longest, stalls[0] = stalls[0], 0.0
    return JsonResponse({"seconds": longest, "error": cancer.status().last_error})


urlpatterns = [path("predict", predict), path("stalled", stalled)]
for pattern in urlpatterns:
    pattern.callback.csrf_exempt = True
