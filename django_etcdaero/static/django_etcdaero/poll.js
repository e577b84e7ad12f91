// Parts of a page that follow what happens: <div id="…" data-etcdaero-poll="1">. While the attribute is the number of
// seconds between two looks, the page is fetched again and the part replaced; any other value ends it.
"use strict";
(() => {
  const SLOWEST = 10;
  const LONGEST = 30 * 60 * 1000;
  const began = Date.now();

  const isLive = (part) => /^[0-9]+$/.test(part.dataset.etcdaeroPoll);

  const show = (part) => {
    for (const each of part.querySelectorAll("[data-etcdaero-live]")) each.hidden = false;
    for (const each of part.querySelectorAll("[data-etcdaero-still]")) each.hidden = true;
  };

  const follow = (part, failures) => {
    if (!isLive(part) || Date.now() - began > LONGEST) return;
    show(part);
    const pause = Math.min(SLOWEST, Number(part.dataset.etcdaeroPoll) * 2 ** failures);
    setTimeout(() => look(part, failures), pause * 1000);
  };

  const look = async (part, failures) => {
    if (document.hidden) {
      follow(part, failures);
      return;
    }
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(part.id);
      if (fresh === null) throw new Error("the part is gone");
      const adopted = document.adoptNode(fresh);
      part.replaceWith(adopted);
      follow(adopted, 0);
    } catch {
      follow(part, Math.min(failures + 1, 6));
    }
  };

  addEventListener("DOMContentLoaded", () => {
    for (const part of document.querySelectorAll("[data-etcdaero-poll][id]")) follow(part, 0);
  });
})();
