// Two cards over one time axis: waveform, spectrogram, pitch.
"use strict";

EditX.plots = {
  LEFT: 52, RIGHT: 10, BOTTOM: 18, TOP: 6, // room for the axes, in CSS pixels
  RANGE_DB: 75, // from the loudest of both to what is drawn as nothing
  HEAT: [[6, 6, 24], [64, 18, 108], [163, 44, 122], [236, 104, 94], [253, 231, 170]], // from nothing to loudest

  /** Axes on `canvas`: 0 to `seconds` across, `low` to `high` up with a line at each of `ticks`. Returns where things go. */
  axes(canvas, { seconds, low, high, ticks, unit, timed }) {
    const context = EditX.fit(canvas);
    const scale = canvas.width / canvas.clientWidth;
    context.scale(scale, scale);
    const left = this.LEFT, top = this.TOP;
    const width = canvas.clientWidth - left - this.RIGHT;
    const height = canvas.clientHeight - top - (timed ? this.BOTTOM : this.TOP);
    const x = (time) => left + (time / seconds) * width;
    const y = (value) => top + height - ((value - low) / (high - low)) * height;
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = EditX.colour("--editx-soft");
    context.strokeStyle = EditX.colour("--editx-line");
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const tick of ticks) {
      this._line(context, left, y(tick), left + width, y(tick));
      context.fillText(`${tick}${tick === ticks[ticks.length - 1] ? ` ${unit}` : ""}`, left - 5, y(tick));
    }
    if (timed) {
      context.textBaseline = "top";
      context.textAlign = "center";
      const step = this.step(seconds, width / 60);
      for (let i = 0; i * step <= seconds; i++) {
        this._line(context, x(i * step), top, x(i * step), top + height);
        context.fillText(`${+(i * step).toFixed(2)} s`, Math.min(x(i * step), left + width - 8), top + height + 4);
      }
    }
    return { context, x, y, left, top, width, height };
  },

  _line(context, fromX, fromY, toX, toY) {
    context.beginPath();
    context.moveTo(fromX, Math.round(fromY) + 0.5);
    context.lineTo(toX, Math.round(toY) + 0.5);
    context.stroke();
  },

  /** A round distance between ticks, so that about `count` of them fill `range`. */
  step(range, count) {
    const least = range / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least);
  },

  /** A waveform between -1 and 1, in a colour. */
  wave(canvas, sound, seconds, colour) {
    const { context, x, left, top, height } = this.axes(canvas, { seconds, low: -1, high: 1, ticks: [-1, 0, 1], unit: "" });
    const width = x(sound.samples.length / sound.rate) - left;
    EditX.paintWave(context, { left, top, width, height }, sound, sound.samples.length / sound.rate, colour);
  },

  /** A spectrogram; `loudest`: the level in dB that is drawn brightest. */
  spectrum(canvas, { levels, columns, bins, hop, top: topHz }, seconds, loudest) {
    const kilohertz = topHz / 1000;
    const ticks = [0, kilohertz / 3, (2 * kilohertz) / 3, kilohertz].map((tick) => +tick.toFixed(1));
    const { context, x, left, top, height } = this.axes(canvas, { seconds, low: 0, high: kilohertz, ticks, unit: "kHz" });
    const picture = new ImageData(columns, bins);
    for (let column = 0; column < columns; column++) {
      for (let k = 0; k < bins; k++) {
        const share = Math.min(1, Math.max(0, 1 + (levels[column * bins + k] - loudest) / this.RANGE_DB));
        const at = ((bins - 1 - k) * columns + column) * 4;
        picture.data.set(this._heat(share), at);
      }
    }
    const whole = EditX.h("canvas", { width: columns, height: bins });
    whole.getContext("2d").putImageData(picture, 0, 0);
    context.drawImage(whole, left, top, x(columns * hop) - left, height);
  },

  _heat(share) {
    const place = share * (this.HEAT.length - 1), i = Math.min(this.HEAT.length - 2, Math.floor(place));
    const mix = (channel) => this.HEAT[i][channel] + (place - i) * (this.HEAT[i + 1][channel] - this.HEAT[i][channel]);
    return [mix(0), mix(1), mix(2), 255];
  },

  /** Pitch tracks in their colours over one linear axis in Hz. */
  pitch(canvas, tracks, seconds, colours) {
    const voiced = tracks.flatMap(({ f0 }) => [...f0].filter((hz) => hz > 0));
    const from = voiced.length ? Math.min(...voiced) : 50, to = voiced.length ? Math.max(...voiced) : 400;
    const step = this.step(Math.max(40, to - from), 4);
    const low = Math.floor(from / step) * step, high = Math.max(low + step, Math.ceil(to / step) * step);
    const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
    const { context, x, y } = this.axes(canvas, { seconds, low, high, ticks, unit: "Hz", timed: true });
    tracks.forEach(({ f0, hop }, which) => {
      context.strokeStyle = context.fillStyle = colours[which];
      context.lineWidth = 2;
      context.setLineDash(which ? [4, 2] : []);
      context.beginPath();
      for (let i = 0; i < f0.length; i++) {
        if (!(f0[i] > 0)) continue;
        if (f0[i - 1] > 0) context.lineTo(x((i + 0.5) * hop), y(f0[i]));
        else context.moveTo(x((i + 0.5) * hop), y(f0[i]));
      }
      context.stroke();
    });
    context.setLineDash([]);
  },
};

/** A comparison in `box`, which `show(one, other)` fills with two cards. */
EditX.comparison = (box) => {
  const { h, t, analysis, plots } = EditX;
  const colours = () => [EditX.colour("--editx-wave"), EditX.colour("--editx-other")];
  const title = h("h3");
  const sides = [0, 1].map((which) => ({
    name: h("th", { scope: "row" }),
    facts: [0, 1, 2].map(() => h("td")),
    audio: h("audio", { controls: true, preload: "metadata" }),
    wave: h("canvas", { role: "img", class: "editx-plot-wave" }),
    spectrum: h("canvas", { role: "img", class: "editx-plot-spectrum" }),
    named: (name) => h("span", { class: "editx-named" }, h("span", { class: `editx-key editx-key-${which}` }), name),
    captions: [h("figcaption"), h("figcaption")],
  }));
  const pitch = h("canvas", { role: "img", class: "editx-plot-pitch" });
  const legend = h("figcaption");
  const heads = ["card", "length", "median", "range", "sound"].map((name) => h("th", { scope: "col" }, t(`edit.${name}`)));
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...heads)),
    h("tbody", {}, ...sides.map((side) => h("tr", {}, side.name, ...side.facts, h("td", {}, side.audio)))));
  const playhead = h("div", { class: "editx-playhead", hidden: true });
  const drawn = h("div", { class: "editx-plots" },
    ...sides.map((side) => h("figure", {}, side.captions[0], side.wave)),
    ...sides.map((side) => h("figure", {}, side.captions[1], side.spectrum)),
    h("figure", {}, legend, pitch), playhead);
  const status = h("p", { class: "editx-hint", role: "status" });
  box.append(title, h("div", { class: "editx-scroll", tabindex: "0", role: "region", "aria-label": t("edit.figures") }, table), status, drawn);
  const analysed = new Map();
  let now = null, wanted = "";

  const study = (url) => {
    if (!analysed.has(url)) {
      const work = (async () => {
        const sound = await EditX.decode(url);
        return { sound, spectrum: await analysis.spectrogram(sound), track: await analysis.pitch(sound) };
      })();
      work.catch(() => analysed.delete(url));
      analysed.set(url, work);
    }
    return analysed.get(url);
  };

  const draw = () => {
    if (!now || !drawn.clientWidth) return;
    const { studies, seconds } = now;
    const loudest = studies.map(({ spectrum }) => spectrum.levels.reduce((most, level) => Math.max(most, level), -120));
    studies.forEach(({ sound, spectrum }, which) => {
      plots.wave(sides[which].wave, sound, seconds, colours()[which]);
      plots.spectrum(sides[which].spectrum, spectrum, seconds, Math.max(...loudest));
    });
    plots.pitch(pitch, studies.map(({ track }) => track), seconds, colours());
  };

  const say = (cards, studies) => {
    studies.forEach(({ sound, track }, which) => {
      const name = EditX.cardName(cards[which]);
      const { name: head, facts, wave, spectrum, captions, named } = sides[which];
      const found = analysis.summary(track);
      const hz = (value) => value.toFixed(0);
      const length = EditX.duration(sound.samples.length / sound.rate);
      facts[0].textContent = length;
      facts[1].textContent = found ? `${hz(found.median)} Hz` : t("edit.unvoiced");
      facts[2].textContent = found ? `${hz(found.low)}–${hz(found.high)} Hz` : "";
      head.replaceChildren(named(name));
      captions[0].replaceChildren(named(t("edit.waveform_of", { name })));
      captions[1].replaceChildren(named(t("edit.spectrogram_of", { name })));
      wave.setAttribute("aria-label", t("edit.waveform_said", { name, length }));
      spectrum.setAttribute("aria-label", t("edit.spectrogram_said", { name, length }));
    });
    const names = cards.map(EditX.cardName);
    legend.replaceChildren(t("edit.pitch"), ...sides.map((side, i) => side.named(names[i])));
    pitch.setAttribute("aria-label", t("edit.pitch_said", {
      one: names[0], other: names[1], first: sides[0].facts[1].textContent, second: sides[1].facts[1].textContent,
    }));
  };

  const follow = (audio) => {
    const move = () => {
      playhead.hidden = audio.paused || !now;
      if (playhead.hidden) return;
      const width = drawn.clientWidth - plots.LEFT - plots.RIGHT;
      playhead.style.left = `${plots.LEFT + (audio.currentTime / now.seconds) * width}px`;
      requestAnimationFrame(move);
    };
    audio.addEventListener("play", move);
  };
  sides.forEach(({ audio }) => follow(audio));

  const show = async (...cards) => {
    const pair = cards.map((card) => card.sound);
    if (wanted === pair.join()) return;
    wanted = pair.join();
    now = null;
    box.dataset.state = "working";
    title.textContent = t("edit.compared", { one: cards[0].number, other: cards[1].number });
    status.textContent = t("edit.analysing");
    cards.forEach((card, which) => {
      sides[which].audio.src = card.sound;
      sides[which].audio.setAttribute("aria-label", t("edit.sound_of", { name: EditX.cardName(card) }));
    });
    try {
      const studies = await Promise.all(pair.map(study));
      if (wanted !== pair.join()) return;
      now = { studies, seconds: Math.max(...studies.map(({ sound }) => sound.samples.length / sound.rate)) };
      say(cards, studies);
      draw();
      status.textContent = "";
      box.dataset.state = "done";
    } catch {
      if (wanted !== pair.join()) return;
      wanted = "";
      status.textContent = t("error.lost");
      box.dataset.state = "failed";
    }
  };
  new ResizeObserver(draw).observe(drawn);
  new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  return { show };
};
