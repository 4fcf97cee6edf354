"""The same as a Django project of one file.

    MLSHARED_STORE=./models gunicorn -c examples/flights/gunicorn_conf.py examples.flights.django_app

POST /predict with a flight as JSON; GET /ready for the load balancer.
"""

import json
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

import mlshared
from examples.flights.features import derive

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"])
flights = mlshared.get_model("flights", features=derive)


@csrf_exempt
@require_POST
def predict(request: HttpRequest) -> JsonResponse:
    """Return whether the flight will be late, how probable that is, and which version says so."""
    try:
        model = flights.current  # once: the answer and the version it is said to be of are the same
        probability = model.predict_proba(json.loads(request.body))[True]
    except mlshared.InputError as error:
        return JsonResponse({"errors": error.errors()}, status=400)
    except mlshared.ModelNotReady as error:
        return JsonResponse({"errors": [{"field": "", "message": str(error)}]}, status=503)
    answer = {"late": probability >= 0.5, "probability": probability, "version": model.version}
    return JsonResponse({**answer, "worker": os.getpid()})


def ready(_request: HttpRequest) -> JsonResponse:
    """Return 200 if there is a model to answer with, else 503."""
    is_ready = flights.ready(timeout=0)
    return JsonResponse({"ready": is_ready, "worker": os.getpid()}, status=200 if is_ready else 503)


urlpatterns = [path("predict", predict), path("ready", ready)]
application = get_wsgi_application()
