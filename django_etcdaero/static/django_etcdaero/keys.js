/* Folders open in place, "/" goes to the search, arrows walk through the tree, texts can be copied. All of it is links
   and selectable text without this. */
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const tree = document.querySelector("[data-tree]");

  async function levelAt(address) {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    return page.querySelector("[data-tree]");
  }

  async function toggle(link) {
    const item = link.parentElement;
    const open = item.querySelector(":scope > ul");
    if (open) {
      open.remove();
      link.setAttribute("aria-expanded", "false");
      return;
    }
    item.setAttribute("aria-busy", "true");
    try {
      const level = await levelAt(link.href);
      if (!level) throw new Error("no level");
      const list = document.createElement("ul");
      list.append(...level.children);
      item.append(list);
      link.setAttribute("aria-expanded", "true");
    } catch {
      location.assign(link.href);
    }
    item.removeAttribute("aria-busy");
  }

  async function append(link) {
    const item = link.parentElement;
    item.setAttribute("aria-busy", "true");
    try {
      const level = await levelAt(link.href);
      if (!level) throw new Error("no level");
      const first = level.querySelector("a");
      item.replaceWith(...level.children);
      if (first) first.focus();
    } catch {
      location.assign(link.href);
    }
  }

  if (tree) {
    tree.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
      if (link.parentElement.classList.contains("folder")) {
        event.preventDefault();
        toggle(link);
      } else if (link.parentElement.classList.contains("more")) {
        event.preventDefault();
        append(link);
      }
    });
    tree.addEventListener("keydown", (event) => {
      const links = [...tree.querySelectorAll("a")];
      const at = links.indexOf(document.activeElement);
      if (at < 0) return;
      const link = links[at];
      const expanded = link.getAttribute("aria-expanded");
      if (event.key === "ArrowDown" && links[at + 1]) links[at + 1].focus();
      else if (event.key === "ArrowUp" && links[at - 1]) links[at - 1].focus();
      else if (event.key === "ArrowRight" && expanded === "false") toggle(link);
      else if (event.key === "ArrowLeft" && expanded === "true") toggle(link);
      else return;
      event.preventDefault();
    });
  }

  document.addEventListener("keydown", (event) => {
    const field = document.querySelector('[data-shortcut="/"]');
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (field && event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });

  for (const text of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text.dataset.copy;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = text.dataset.copied;
    });
    text.after(button);
  }
});
