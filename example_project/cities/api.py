"""The JSON: answered from memory, without a database query."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .lookup import BadParameter, Json, city_json, find, find_one


@never_cache
@require_safe
def search(request: HttpRequest) -> JsonResponse:
    """``/api/cities/?q=ber&country=DE&limit=20``: cities by the beginning of a name."""
    try:
        answer = find(request.GET.dict())
    except BadParameter as error:
        return _json({"error": str(error)}, status=400)
    return _json(
        {
            **answer.served.json(),
            "count": len(answer.matches),
            "more": answer.more,
            "cities": [city_json(match) for match in answer.matches],
        }
    )


@never_cache
@require_safe
def city(request: HttpRequest, city_id: int) -> JsonResponse:
    """``/api/cities/2950159/``: one city by its geonames id."""
    match, served = find_one(str(city_id))
    if match is None:
        return _json({**served.json(), "error": f"there is no city with the id {city_id}"}, status=404)
    return _json({**served.json(), "city": {**city_json(match), "alternate_names": match.row["alternate_names"]}})


def _json(content: Json, *, status: int = 200) -> JsonResponse:
    return JsonResponse(content, status=status, json_dumps_params={"ensure_ascii": False})
