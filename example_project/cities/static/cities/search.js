// Search as you type. Without this script the form does the same, one page load for each search.
"use strict";

const DEBOUNCE = 80; // milliseconds after the last key stroke
const REFRESH = 5000; // milliseconds between two looks while nothing is typed: new versions show by themselves

const form = document.getElementById("search");
const input = document.getElementById("q");
const country = document.getElementById("country");
const list = document.getElementById("cities");
const found = document.getElementById("found");
const nothing = document.getElementById("nothing");
const problem = document.getElementById("problem");
const template = document.getElementById("city");
const integer = new Intl.NumberFormat("en-US");
const plural = (number) => (number === 1 ? "1 city" : `${number} cities`);

let pending = null;
let timer = 0;
let shown = "";

function clock(timezone, fallback) {
  try {
    return new Intl.DateTimeFormat("en-GB", { timeZone: timezone, hour: "2-digit", minute: "2-digit" }).format(new Date());
  } catch {
    return fallback ?? "–"; // this browser does not know the time zone
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text; // unchanged text is not read out again
}

function item(city) {
  const node = template.content.firstElementChild.cloneNode(true);
  const put = (selector, text) => { node.querySelector(selector).textContent = text; };
  put(".flag", city.country.flag);
  put("h2", city.name);
  put(".country", city.country.name);
  put(".population dd", integer.format(city.population));
  put(".coordinates dd", city.coordinates);
  put(".zone dd", city.timezone);
  put("time", clock(city.timezone, city.local_time));
  put(".also bdi", city.alternate_name ?? "");
  node.querySelector(".also").hidden = !city.alternate_name;
  put(".json .visually-hidden", ` of ${city.name}`);
  put(".edit .visually-hidden", ` ${city.name}`);
  node.querySelector(".json").href = `${form.dataset.api}${city.id}/`;
  node.querySelector(".country").href = form.dataset.country.replace("XX", city.country.code);
  node.querySelector(".edit").href = `${form.dataset.admin}${city.id}/change/`;
  return node;
}

function age(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

function flash(element) {
  element.classList.remove("changed");
  void element.offsetWidth; // lets the animation start anew
  element.classList.add("changed");
}

function showStatus(answer) {
  for (const [id, text] of [
    ["version", integer.format(answer.version)],
    ["rows", integer.format(answer.rows)],
    ["age", age(answer.age_seconds)],
    ["pid", String(answer.pid)],
    ["lookup", integer.format(Math.round(answer.lookup_us))],
  ]) {
    const element = document.getElementById(id);
    if (element.textContent !== text && (id === "version" || id === "pid")) flash(element);
    setText(element, text);
  }
  document.getElementById("age").dataset.seconds = answer.age_seconds;
  const state = document.getElementById("state");
  state.dataset.state = answer.state;
  state.title = answer.state;
}

function showCities(cities) {
  const wanted = JSON.stringify(cities);
  if (wanted === shown) return; // leaves the reader's selection and focus alone
  shown = wanted;
  const focused = list.contains(document.activeElement) ? document.activeElement.href : null;
  list.replaceChildren(...cities.map(item));
  list.hidden = cities.length === 0;
  if (focused) [...list.querySelectorAll("a")].find((link) => link.href === focused)?.focus();
}

function show(query, code, answer) {
  const cities = answer.cities;
  showCities(cities);
  problem.hidden = true;
  nothing.hidden = cities.length > 0;
  setText(document.getElementById("nothing-query"), query);
  setText(document.getElementById("nothing-where"), code ? " in the chosen country" : "");
  if (!query && !code) setText(found, "The largest cities");
  else if (!cities.length) setText(found, "No city found");
  else setText(found, answer.more ? `The first ${plural(cities.length)}` : plural(cities.length));
  showStatus(answer);
}

function complain(text) {
  setText(problem, text);
  problem.hidden = false;
}

async function search({ typed }) {
  clearTimeout(timer);
  pending?.abort();
  const controller = (pending = new AbortController());
  const query = input.value;
  const code = country.value;
  const parameters = new URLSearchParams();
  if (query) parameters.set("q", query);
  if (code) parameters.set("country", code);
  try {
    const response = await fetch(`${form.dataset.api}?${parameters}`, { signal: controller.signal });
    const answer = await response.json();
    if (controller.signal.aborted) return;
    if (response.ok) {
      show(query, code, answer);
      if (typed) {
        const suffix = parameters.toString();
        history.replaceState(null, "", suffix ? `?${suffix}` : location.pathname);
        document.title = `${query ? `${query} – ` : ""}Cities of the world`;
      }
    } else {
      const told = !answer.run || answer.error.includes("etcdaero_refresh"); // what to run
      complain(told ? answer.error : `${answer.error}. Run: ${answer.run}`);
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    complain("The server does not answer; trying again in a few seconds.");
  }
  timer = setTimeout(() => (document.hidden ? idle() : search({ typed: false })), REFRESH);
}

function idle() {
  clearTimeout(timer);
  document.addEventListener("visibilitychange", () => search({ typed: false }), { once: true });
}

input.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => search({ typed: true }), DEBOUNCE);
});
country.addEventListener("change", () => search({ typed: true }));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  search({ typed: true });
});
document.getElementById("start-over").addEventListener("click", (event) => {
  event.preventDefault();
  input.value = "";
  country.value = "";
  input.focus();
  search({ typed: true });
});
document.addEventListener("keydown", (event) => {
  const typing = document.activeElement.matches("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    input.focus();
    input.select();
  } else if (event.key === "Escape" && document.activeElement === input && input.value) {
    event.preventDefault();
    input.value = "";
    search({ typed: true });
  }
});

// Between two answers the age goes on.
setInterval(() => {
  const element = document.getElementById("age");
  const seconds = Number(element.dataset.seconds) + 1;
  element.dataset.seconds = seconds;
  setText(element, age(seconds));
}, 1000);

timer = setTimeout(() => search({ typed: false }), REFRESH);
