"""The example project keeps its promises: real processes, in a copy of it, with nothing configured."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.example import (
    BERLIN,
    CITIES,
    Project,
    Server,
    copy_to,
    serving,
    versions,
)
from tests.example import project as project  # a fixture
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

WORKERS = 3


@pytest.fixture(scope="module")
def workers(project: Project) -> Iterator[Server]:
    with serving(project, "-m", "gunicorn", "-c", "gunicorn.conf.py", GUNICORN_BIND="127.0.0.1:{port}") as server:
        seen: dict[int, int] = {}
        wait_until(lambda: seen.update(versions(server)) or len(seen) == WORKERS, 40.0, "an answer of every worker")
        yield server


def test_demo_does_the_whole_main_job_on_a_fresh_checkout(project: Project) -> None:
    assert f"Loaded {CITIES:,} cities" in project.output
    assert re.search(rf"dataset cities: version 1, {CITIES:,} rows, read by pid \d+", project.output)
    assert "Shanghai, China: " in project.output
    assert "The main job works" in project.output


def test_demo_can_be_run_again(project: Project) -> None:
    output = project.manage("demo", "--check", "--superuser")
    assert f"The database has {CITIES:,} cities; nothing to load." in output
    assert "The user 'admin' exists already" in output
    assert "The main job works" in output


def test_demo_serves_the_page(project: Project) -> None:
    with serving(project, "manage.py", "demo", "--port", "{port}") as server:
        wait_until(lambda: server.get("/").status == 200, timeout=20.0, what="the page")
        assert "Shanghai" in server.get("/").text


def test_the_superuser_gets_a_random_password_that_is_printed_once(project: Project) -> None:
    password = re.search(r"with the password (\S{16}) ", project.output)
    assert password
    assert project.script(
        f"print(json.dumps(Client(headers={{'host': 'localhost'}}).login(username='admin', password={password[1]!r})))"
    )


def test_nobody_else_can_read_what_the_example_writes(project: Project) -> None:
    data = project.path / ".etcdaero"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "secret_key").stat().st_mode) == 0o600


def test_the_project_passes_djangos_checks_and_its_migrations_are_complete(project: Project) -> None:
    project.manage("check", "--fail-level", "WARNING")
    project.manage("makemigrations", "--check", "--dry-run")


def test_every_worker_follows_an_edit_without_a_restart(project: Project, workers: Server) -> None:
    before = workers.get(f"/api/cities/{BERLIN}/").json
    population = before["city"]["population"]
    project.script(
        f"from cities.models import City\nprint(City.objects.filter(pk={BERLIN}).update(population={population + 1}))"
    )
    assert workers.get(f"/api/cities/{BERLIN}/").json["city"]["population"] == population

    project.manage("etcdaero_refresh", "cities", "--force", "--wait", "20")

    seen: dict[int, int] = {}

    def all_workers_show_it() -> bool:
        seen.update(versions(workers))
        return len(seen) == WORKERS and min(seen.values()) > before["version"]

    wait_until(all_workers_show_it, timeout=30.0, what="the new version in every worker")
    assert workers.get(f"/api/cities/{BERLIN}/").json["city"]["population"] == population + 1


def test_page_and_json_are_answered_while_the_database_is_away(project: Project, workers: Server) -> None:
    versions(workers)
    database = project.path / ".etcdaero" / "db.sqlite3"
    away = database.rename(database.with_suffix(".away"))
    try:
        assert workers.names("berlin", limit=1) == ["Berlin"]
        assert "Berlin" in workers.get("/?q=berlin").text
    finally:
        away.rename(database)


def test_page_and_json_make_no_database_query(project: Project) -> None:
    counts = project.script(
        """
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_etcdaero import datasets

datasets["cities"].wait_ready(20)
client = Client(headers={"host": "localhost"})
counts = {}
for path in ("/", "/?q=ber&country=DE", "/?q=xyzzy", "/api/cities/?q=ber", "/api/cities/2950159/", "/api/cities/1/"):
    with CaptureQueriesContext(connection) as queries:
        status = client.get(path).status_code
    counts[path] = [status, len(queries)]
print(json.dumps(counts))
"""
    )
    assert counts == {
        "/": [200, 0],
        "/?q=ber&country=DE": [200, 0],
        "/?q=xyzzy": [200, 0],
        "/api/cities/?q=ber": [200, 0],
        "/api/cities/2950159/": [200, 0],
        "/api/cities/1/": [404, 0],
    }


def test_search_finds_the_most_populous_first_by_the_beginning_of_a_name(workers: Server) -> None:
    assert workers.names("", limit=3) == ["Shanghai", "Beijing", "Shenzhen"]
    found = workers.get("/api/cities/?q=san&limit=100").json["cities"]
    by_main_name = [
        city["population"]
        for city in found
        if city["name"].startswith("San") and city["name"] not in ("San", "San Diego")
    ]
    assert len(by_main_name) > 5
    assert by_main_name == sorted(by_main_name, reverse=True)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("BERLIN", "Berlin"),
        ("sao paulo", "São Paulo"),
        ("são-p", "São Paulo"),
        ("münch", "Munich"),
        ("wien", "Vienna"),
        ("москва", "Moscow"),
        ("san f", "San Francisco"),
        ("orleans", "New Orleans"),
    ],
)
def test_search_knows_accents_other_languages_and_later_words(workers: Server, query: str, name: str) -> None:
    assert workers.names(query)[0] == name


def test_search_tells_by_which_other_name_a_city_was_found(workers: Server) -> None:
    city = workers.get("/api/cities/?q=bombay").json["cities"][0]
    assert (city["name"], city["alternate_name"]) == ("Mumbai", "Bombay")


def test_search_keeps_to_the_country_and_the_limit(workers: Server) -> None:
    answer = workers.get("/api/cities/?q=b&country=de&limit=2").json
    assert [city["country"]["code"] for city in answer["cities"]] == ["DE", "DE"]
    assert answer["count"] == 2
    assert answer["more"] is True


def test_json_says_which_version_and_process_answered(workers: Server) -> None:
    answer = workers.get("/api/cities/?q=ber").json
    assert answer["version"] >= 1
    assert answer["rows"] == CITIES
    assert answer["pid"] > 0
    assert answer["state"] == "VALID"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", answer["published_at"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("limit=0", "limit: a whole number from 1 to 100"),
        ("limit=ten", "limit: a whole number from 1 to 100"),
        ("limit=101", "limit: a whole number from 1 to 100"),
        ("country=XX", "country: 'XX' is not"),
        ("q=" + "a" * 101, "q: at most 100 characters"),
    ],
)
def test_a_bad_parameter_gets_400_with_a_message(workers: Server, parameters: str, message: str) -> None:
    answer = workers.get(f"/api/cities/?{parameters}")
    assert answer.status == 400
    assert message in answer.json["error"]
    page = workers.get(f"/?{parameters}")
    assert page.status == 400
    assert message.split(":")[0] + ":" in page.text


def test_a_city_that_is_not_there_gets_404(workers: Server) -> None:
    answer = workers.get("/api/cities/1/")
    assert answer.status == 404
    assert "no city with the id 1" in answer.json["error"]


def test_pages_load_nothing_from_elsewhere(workers: Server) -> None:
    page = workers.get("/?q=xyzzy")
    assert "No city matches" in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
    for path in re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page.text):
        assert workers.get(path).status == 200


def test_a_process_without_a_version_says_what_to_run_and_takes_up_the_first(tmp_path: Path) -> None:
    project = Project(copy_to(tmp_path / "project"))
    with serving(project, "manage.py", "runserver", "--noreload", "127.0.0.1:{port}") as server:
        page = server.get("/")
        assert page.status == 503
        assert int(page.headers["Retry-After"]) > 0
        assert "python manage.py etcdaero_refresh" in page.text
        assert server.get("/api/cities/").json["run"] == "python manage.py etcdaero_refresh"

        project.manage("demo", "--check", "--limit", "50")

        wait_until(lambda: server.get("/").status == 200, timeout=20.0, what="the page of the first version")
        assert server.get("/api/cities/").json["rows"] == 50


def test_the_example_runs_under_uvicorn(project: Project) -> None:
    with serving(project, "-m", "uvicorn", "--port", "{port}", "config.asgi:application") as server:
        wait_until(lambda: server.get("/").status == 200, timeout=20.0, what="the page")
        assert server.names("berlin", limit=1) == ["Berlin"]
        assert server.get("/static/cities/cities.css").status == 200


def test_the_admin_asks_for_a_refresh_only_by_post_and_with_permission(project: Project) -> None:
    seen = project.script(
        """
from django.contrib.auth.models import Permission, User
from django_etcdaero import datasets, kv

def pending():
    return kv.get(datasets["cities"].layout("cities").request)

User.objects.filter(username__in=["editor", "publisher"]).delete()
view = Permission.objects.get(codename="view_city")
editor = User.objects.create_user("editor", is_staff=True)
editor.user_permissions.add(view)
publisher = User.objects.create_user("publisher", is_staff=True)
own = Permission.objects.filter(codename__in=["view_dataset", "refresh_dataset"])
publisher.user_permissions.add(view, *own)
url, seen = "/admin/django_etcdaero/dataset/cities/refresh/", {}
for name, user in (("anonymous", None), ("editor", editor), ("publisher", publisher)):
    client = Client(headers={"host": "localhost"})
    if user:
        client.force_login(user)
        page = client.get("/admin/cities/city/")
        seen[f"{name} sees the button"] = f'href="{url}"' in page.content.decode()
    before = pending()
    seen[f"{name} gets"] = client.get(url).status_code
    seen[f"{name} asked by getting"] = pending() != before
    response = client.post(url, {"reason": "the test"})
    seen[f"{name} posts"] = [response.status_code, response.headers.get("Location", "").split("?")[0]]
    seen[f"{name} asked"] = pending() != before
csrf = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
csrf.force_login(publisher)
seen["without token"] = csrf.post(url, {"reason": "the test"}).status_code
print(json.dumps(seen))
"""
    )
    assert seen == {
        "anonymous gets": 302,
        "anonymous asked by getting": False,
        "anonymous posts": [302, "/admin/login/"],
        "anonymous asked": False,
        "editor sees the button": False,
        "editor gets": 403,
        "editor asked by getting": False,
        "editor posts": [403, ""],
        "editor asked": False,
        "publisher sees the button": True,
        "publisher gets": 200,
        "publisher asked by getting": False,
        "publisher posts": [302, "/admin/django_etcdaero/dataset/cities/refreshing/"],
        "publisher asked": True,
        "without token": 403,
    }


def test_an_edit_in_the_admin_is_published_by_the_next_refresh(project: Project) -> None:
    shown = project.script(
        """
from django.contrib.auth.models import User
from cities.models import City

client = Client(headers={"host": "localhost"})
client.force_login(User.objects.get(username="admin"))
city = City.objects.get(name="Hamburg")
data = {f.name: f.value_from_object(city) for f in City._meta.fields if f.name != "id"}
response = client.post(f"/admin/cities/city/{city.pk}/change/", {**data, "name": "Hamburg an der Elbe"}, follow=True)
print(json.dumps(response.content.decode()))
"""
    )
    assert "was changed successfully" in shown
    assert "A refresh of the dataset “cities” was requested." in shown
    project.manage("etcdaero_refresh", "--wait", "20")
    assert "Hamburg an der Elbe, Germany" in project.manage("find_city", "hamburg")


def test_the_page_of_a_country_stays_in_the_cache_until_a_city_is_saved(project: Project, workers: Server) -> None:
    before = workers.get("/countries/AT/")
    assert before.status == 200
    assert "Vienna" in before.text
    save = """
from cities.models import City

city = City.objects.get(name={name!r}, country="AT")
city.name = {to!r}
city.{how}
print(json.dumps(city.name))
"""
    # Past the models nobody notices: the page is the cache's.
    project.script(
        "from cities.models import City\n"
        'print(City.objects.filter(name="Vienna", country="AT").update(name="Vindobona"))'
    )
    assert "Vienna" in workers.get("/countries/AT/").text
    project.script(save.format(name="Vindobona", to="Wien", how="save()"))
    wait_until(lambda: "Wien" in workers.get("/countries/AT/").text, what="the page with the new name in each worker")
    project.script(save.format(name="Wien", to="Vienna", how="save()"))
    for code in ("XX", "at", "nothing"):
        assert workers.get(f"/countries/{code}/").status == 404


def test_a_session_is_seen_by_every_worker(project: Project, workers: Server) -> None:
    cookie = project.script(
        """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User

user = User.objects.get(username="admin")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session.update({
    SESSION_KEY: str(user.pk),
    BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
    HASH_SESSION_KEY: user.get_session_auth_hash(),
})
session.save()
print(json.dumps(session.session_key))
"""
    )
    for _ in range(4 * WORKERS):
        assert workers.get("/admin/", cookie=f"sessionid={cookie}").status == 200
