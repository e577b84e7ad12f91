"""The search page and its JSON."""

from __future__ import annotations

from django.urls import path

from . import api, countries, views

urlpatterns = [
    path("", views.search_page, name="search"),
    path("countries/<str:code>/", countries.country_page, name="country"),
    path("api/cities/", api.search, name="api-search"),
    path("api/cities/<int:city_id>/", api.city, name="api-city"),
]
