// What every part of the page shares: words, elements, sound.
"use strict";

const EditX = {
  /** The words at `key` with {fields} filled in. */
  t(key, fields = {}) {
    const text = window.EDITX_WORDS[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => fields[name] ?? whole);
  },

  /** An element with attributes (functions listen: onclick) and children (strings are text, never markup). */
  h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (typeof value === "function") element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  },

  /** Seconds as a person reads them: 3.2 s, 1:05. */
  duration(seconds, digits = 1) {
    if (seconds < 60) return this.t("page.seconds", { seconds: seconds.toFixed(digits) });
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  },

  /** Ask the API for JSON. Rejects with an Error whose message is a sentence for a person. */
  async ask(path, options = {}) {
    let reply;
    try {
      reply = await fetch(path, options);
    } catch {
      throw new Error(this.t("error.lost"));
    }
    const body = await reply.json().catch(() => null);
    if (reply.ok) return body;
    throw new Error(this.problem(reply.status, body?.error));
  },

  /** An English `message` of the server in the page's words: by the first pattern of `table` that it begins with. */
  translated(table, message) {
    for (const [key, text] of Object.entries(window.EDITX_WORDS)) {
      const found = key.startsWith(`${table}.`) && new RegExp(`^(?:${key.slice(table.length + 1)})`).exec(message);
      if (found) return text.replace(/\{(\d)\}/g, (_, group) => found[group]);
    }
    return null;
  },

  /** What the API's `error` says, as words.py says it of the page's own errors. */
  problem(status, error) {
    if (status === 401) return this.t("error.key");
    if (!error?.message) return this.t("error.internal");
    const said = window.EDITX_WORDS[`error.${error.code}`];
    if (said && document.documentElement.lang !== "en") {
      return this.translated("detail", error.message) ?? (said.endsWith("。") ? said : `${said}（${error.message}）`);
    }
    return error.message[0].toUpperCase() + error.message.slice(1);
  },

  /** `text` as code, beside a button that copies it as it then is. `name`: what it is, for those who hear the page. */
  copyable(text, name = "") {
    const code = this.h("code", {}, text);
    const button = this.h("button", { type: "button", class: "editx-button" });
    const say = (key) => {
      button.textContent = this.t(key);
      if (name) button.setAttribute("aria-label", `${this.t(key)} ${name}`);
    };
    const said = this.h("span", { class: "editx-unseen", role: "status" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch { // a page without https has no clipboard of its own
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
      }
      say("page.copied");
      said.textContent = this.t("page.copied");
      setTimeout(() => { say("page.copy"); said.textContent = ""; }, 2000);
    });
    say("page.copy");
    return this.h("div", { class: "editx-copyable" }, code, button, said);
  },

  _decoded: new Map(),

  /** The sound at `url`: {samples: Float32Array, rate}. Decoded once a page. */
  decode(url) {
    if (!this._decoded.has(url)) {
      const work = (async () => {
        const reply = await fetch(url);
        if (!reply.ok) throw new Error(`${url}: ${reply.status}`);
        const context = new OfflineAudioContext(1, 1, 24000);
        const buffer = await context.decodeAudioData(await reply.arrayBuffer());
        return { samples: buffer.getChannelData(0), rate: buffer.sampleRate };
      })();
      work.catch(() => this._decoded.delete(url));
      this._decoded.set(url, work);
    }
    return this._decoded.get(url);
  },

  /** A colour of the page's theme, such as --editx-wave. */
  colour(name) {
    return getComputedStyle(document.querySelector(".gradio-container") ?? document.body).getPropertyValue(name).trim();
  },

  /** `canvas` sized to its box in device pixels, and its context. */
  fit(canvas) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    return canvas.getContext("2d");
  },

  /** Draw the waveform of the first `seconds` of a sound over the whole width (default: all of it). */
  waveform(canvas, { samples, rate }, seconds = samples.length / rate) {
    const context = this.fit(canvas);
    const { width, height } = canvas;
    this.paintWave(context, { left: 0, top: 0, width, height }, { samples, rate }, seconds, this.colour("--editx-wave"));
  },

  /** Paint the first `seconds` of a sound into a part of a canvas: full scale fills its height. */
  paintWave(context, { left, top, width, height }, { samples, rate }, seconds, colour) {
    const step = (seconds * rate) / width;
    context.fillStyle = colour;
    for (let x = 0; x < width; x++) {
      let low = 0, high = 0;
      const end = Math.min(samples.length, Math.floor((x + 1) * step));
      for (let i = Math.floor(x * step); i < end; i++) {
        if (samples[i] < low) low = samples[i];
        if (samples[i] > high) high = samples[i];
      }
      const from = (1 - high) * height / 2;
      context.fillRect(left + x, top + from, 1, Math.max(1, (1 - low) * height / 2 - from));
    }
  },

  /** This browser tab's name on the server's side, the same after a reload. */
  tab() {
    let id = sessionStorage.getItem("editx-tab");
    if (!id) {
      id = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem("editx-tab", id);
    }
    return id;
  },
};
window.EditX = EditX;
