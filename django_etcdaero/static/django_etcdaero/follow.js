/* Asks again and again for what has happened, and puts it on top of the table. All that the server says is put in as
   text. Without this script the page has a link that does the same. */
"use strict";
(() => {
  const PERIOD = 2000;
  const LONGEST = 15000;

  const follow = (place) => {
    const said = place.dataset;
    const body = place.querySelector("tbody");
    const tools = place.querySelector(".etcdaero-follow-tools");
    const button = tools.querySelector("button");
    const status = tools.querySelector("[role=status]");
    const title = document.title;
    const most = Number(said.most);
    const overlap = Number(said.overlap) * 1000;
    /* Revisions of the store, each with when it was told: the store looks from one that is old enough. */
    const marks = [[Date.now(), Number(said.since)]];
    let seen = Number(said.seen);
    let paused = false;
    let ended = false;
    let unread = 0;
    let awaySince = null;
    let timer = null;
    let asking = false;

    const tell = (text) => {
      if (status.textContent !== text) status.textContent = text;
    };

    const count = (more) => {
      unread = document.hidden ? unread + more : 0;
      document.title = unread ? `(${unread}) ${title}` : title;
    };

    const cell = (row, text, { heading = false, code = false, number = false } = {}) => {
      const made = document.createElement(heading ? "th" : "td");
      if (heading) made.scope = "row";
      if (number) made.className = "number";
      const holder = code ? made.appendChild(document.createElement("code")) : made;
      holder.textContent = text;
      row.appendChild(made);
    };

    const put = (row) => {
      body.insertBefore(row, body.firstChild);
      while (body.rows.length > most) {
        body.deleteRow(-1);
        if (!place.querySelector(".etcdaero-dropped")) {
          const note = document.createElement("p");
          note.className = "quiet etcdaero-dropped";
          note.textContent = said.dropped;
          place.appendChild(note);
        }
      }
    };

    const putEvent = (event) => {
      const row = document.createElement("tr");
      row.className = `etcdaero-event-${event.kind} etcdaero-fresh`;
      cell(row, event.revision, { number: true });
      cell(row, event.word);
      cell(row, event.key, { heading: true, code: true });
      cell(row, event.version, { number: true });
      cell(row, event.lease, { code: true });
      cell(row, event.size, { number: true });
      if (said.values) cell(row, event.value, { code: true });
      put(row);
    };

    const putGap = (text) => {
      const row = document.createElement("tr");
      row.className = "etcdaero-gap";
      const made = row.appendChild(document.createElement("td"));
      made.colSpan = 7;
      made.textContent = text;
      put(row);
    };

    const take = (answer) => {
      for (const old of body.querySelectorAll(".etcdaero-fresh")) old.classList.remove("etcdaero-fresh");
      if (answer.gap && answer.gap_first) putGap(answer.gap);
      answer.rows.forEach(putEvent);
      if (answer.gap && !answer.gap_first) putGap(answer.gap);
      if (answer.revision < marks[marks.length - 1][1]) marks.length = 0; /* another store */
      seen = answer.seen;
      marks.push([Date.now(), answer.more ? answer.seen : answer.revision]);
      while (marks.length > 1 && marks[1][0] < Date.now() - overlap) marks.shift();
      count(answer.rows.length + (answer.gap ? 1 : 0));
    };

    const ask = async () => {
      if (asking || paused || ended) return;
      asking = true;
      let wait = PERIOD;
      const query = new URLSearchParams({
        alias: said.alias, prefix: said.prefix, since: Math.max(seen, marks[0][1]), seen,
      });
      try {
        const response = await fetch(`${said.address}?${query}`, { signal: AbortSignal.timeout(LONGEST) });
        if (response.redirected || response.status === 403) {
          ended = true;
          tell(said.ended);
          return;
        }
        if (!response.ok) throw new Error(String(response.status));
        const answer = await response.json();
        if (awaySince) putGap(said.back);
        awaySince = null;
        take(answer);
        /* Where events must still come out of a long history, the store has work enough. */
        if (answer.more) wait = answer.rows.length ? 0 : 5 * PERIOD;
        if (!paused) tell(said.following);
      } catch {
        awaySince = awaySince || new Date();
        tell(`${said.away} ${awaySince.toLocaleTimeString()}`);
      } finally {
        asking = false;
        if (!ended) timer = setTimeout(ask, wait);
      }
    };

    button.addEventListener("click", () => {
      paused = !paused;
      button.textContent = paused ? said.goOn : said.pause;
      button.setAttribute("aria-pressed", String(paused));
      tell(paused ? said.paused : said.following);
      clearTimeout(timer);
      if (!paused) ask();
    });
    document.addEventListener("visibilitychange", () => count(0));

    place.querySelector(".etcdaero-without-script").hidden = true;
    tools.hidden = false;
    button.textContent = said.pause;
    button.setAttribute("aria-pressed", "false");
    tell(said.following);
    timer = setTimeout(ask, PERIOD);
  };

  document.addEventListener("DOMContentLoaded", () => {
    const place = document.getElementById("etcdaero-follow");
    if (place) follow(place);
  });
})();
