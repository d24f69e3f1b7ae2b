// What a visitor has typed outlives a lost connection, a switch of the language and a reload: it is kept in the tab.
"use strict";

Object.assign(EditX, {
  KEPT: "editx-kept-",

  _read: new Set(),

  /** Keep the `values` of the form of a tab, once those that were kept before have been read. */
  keep(tab, values) {
    if (!this._read.has(tab)) return;
    try {
      sessionStorage.setItem(this.KEPT + tab, JSON.stringify(values));
    } catch { // more than the browser keeps
      this.forget(tab);
    }
  },

  /** Forget what the form of a tab held. */
  forget(tab) {
    sessionStorage.removeItem(this.KEPT + tab);
  },

  /**
   * What the form of a tab held, each the value of a field; `values`, if nothing was kept. Where some fields are `texts`
   * of a card, the first of `values` is its number, and those of another card are not put in their place.
   */
  async kept(tab, values, texts = []) {
    const kept = JSON.parse(sessionStorage.getItem(this.KEPT + tab) ?? "null");
    this._read.add(tab);
    if (kept?.length !== values.length) return values;
    if (texts.length) {
      for (const i of texts) if (kept[0] !== values[0]) kept[i] = values[i];
      kept[0] = values[0];
    }
    return Promise.all(kept.map(async (value) => (value?.path ? this._uploaded(value) : value)));
  },

  /** A recording that was uploaded before, if the server still has it. */
  async _uploaded(file) {
    const url = `gradio_api/file=${encodeURI(file.path)}`;
    const reply = await fetch(url, { method: "HEAD" }).catch(() => null);
    return reply?.ok ? { ...file, url: new URL(url, document.baseURI).href } : null;
  },

  /** Whether something was under way in the player `box` when the page was left. */
  wasCut: (box) => (sessionStorage.getItem(`${EditX.KEPT}cut`) ?? "").split(" ").includes(EditX.nameOf(box)),

  /** What is told apart by it: the id that the server's side of the page gave to what holds `box`. */
  nameOf: (box) => box.closest("[id$=-player]")?.id ?? "",

  /** Go back to the tab that was open. */
  reopen() {
    const tab = sessionStorage.getItem(`${this.KEPT}tab`);
    if (tab) document.querySelector(`[role=tab][data-tab-id=${tab}]`)?.click();
  },
});

addEventListener("pagehide", () => {
  const open = document.querySelector("[role=tab][aria-selected=true]")?.dataset.tabId;
  if (open) sessionStorage.setItem(`${EditX.KEPT}tab`, open);
  const busy = [...document.querySelectorAll(".editx-player[aria-busy=true]")];
  sessionStorage.setItem(`${EditX.KEPT}cut`, busy.map(EditX.nameOf).join(" "));
});

// The key may be taken away while the page is open: the server then asks for it again, and what was typed is kept.
{
  const ask = window.fetch;
  window.fetch = async (...request) => {
    const reply = await ask(...request);
    if (reply.status === 401 && new URL(reply.url).pathname.includes("/gradio_api/")) location.reload();
    return reply;
  };
}
