// What can be seen of a sound: its spectrum over time, and the pitch of the voice.
"use strict";

EditX.analysis = {
  SPECTRUM: 1024, // samples of one column of a spectrogram: 43 ms at 24 kHz, enough to part a voice's harmonics
  LOW_HZ: 55,
  HIGH_HZ: 600,
  DIP: 0.15, // a period is the first lag at which the sound differs from itself by less than this share
  VOICED: 0.3, // a frame whose best lag differs by more has no pitch
  SILENT_DB: -40, // below the loudest frame: no voice
  FRAMES: 1500, // no more are drawn, so no more are computed

  /** Fourier transform in place. `re`, `im`: Float64Array whose length is a power of two. */
  fft(re, im) {
    const n = re.length;
    for (let i = 1, j = 0; i < n; i++) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    for (let size = 2; size <= n; size *= 2) {
      const half = size / 2;
      const { cos, sin } = this._turns(size);
      for (let start = 0; start < n; start += size) {
        for (let k = 0; k < half; k++) {
          const a = start + k, b = a + half;
          const real = re[b] * cos[k] - im[b] * sin[k];
          const imaginary = re[b] * sin[k] + im[b] * cos[k];
          re[b] = re[a] - real;
          im[b] = im[a] - imaginary;
          re[a] += real;
          im[a] += imaginary;
        }
      }
    }
  },

  _tables: new Map(),

  _turns(size) {
    if (!this._tables.has(size)) {
      const angles = Array.from({ length: size / 2 }, (_, k) => (-2 * Math.PI * k) / size);
      this._tables.set(size, { cos: Float64Array.from(angles, Math.cos), sin: Float64Array.from(angles, Math.sin) });
    }
    return this._tables.get(size);
  },

  /** Seconds from one frame to the next: 10 ms, or more where that would be more frames than can be seen. */
  hop: (seconds, least = 0.01) => Math.max(least, seconds / EditX.analysis.FRAMES),

  /** Levels over time and frequency: {levels: Float32Array in dB, columns × bins, hop in s, top: Hz of the last bin}. */
  async spectrogram({ samples, rate }) {
    const size = this.SPECTRUM, bins = size / 2 + 1;
    const hop = this.hop(samples.length / rate, 0.005);
    const columns = Math.max(1, Math.ceil(samples.length / rate / hop));
    const levels = new Float32Array(columns * bins);
    const window = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
    const re = new Float64Array(size), im = new Float64Array(size);
    for (let column = 0; column < columns; column++) {
      const start = Math.round((column + 0.5) * hop * rate) - size / 2;
      for (let i = 0; i < size; i++) re[i] = (samples[start + i] ?? 0) * window[i];
      im.fill(0);
      this.fft(re, im);
      for (let k = 0; k < bins; k++) levels[column * bins + k] = 10 * Math.log10(re[k] ** 2 + im[k] ** 2 + 1e-12);
      await this._breathe(column);
    }
    return { levels, columns, bins, hop, top: rate / 2 };
  },

  /** The pitch of the voice over time, by YIN: {f0: Float32Array in Hz, NaN where there is no voice, hop in s}. */
  async pitch({ samples, rate }) {
    const longest = Math.ceil(rate / this.LOW_HZ), shortest = Math.floor(rate / this.HIGH_HZ);
    const size = Math.round(0.03 * rate); // of the piece that is compared with later ones
    const room = 2 ** Math.ceil(Math.log2(2 * size + longest));
    const hop = this.hop(samples.length / rate);
    const frames = Math.max(1, Math.floor(samples.length / rate / hop));
    const starts = Array.from({ length: frames }, (_, i) => Math.round((i + 0.5) * hop * rate - (size + longest) / 2));
    const power = starts.map((start) => this._power(samples, start, size + longest));
    const quiet = Math.max(...power) * 10 ** (this.SILENT_DB / 10);
    const f0 = new Float32Array(frames).fill(NaN);
    for (let frame = 0; frame < frames; frame++) {
      if (power[frame] > quiet && power[frame] > 0) {
        const differs = this._differences(samples, starts[frame], size, longest, room);
        f0[frame] = rate / this._period(differs, shortest, longest);
      }
      await this._breathe(frame);
    }
    return { f0: this._steady(f0), hop };
  },

  _power(samples, start, length) {
    let sum = 0;
    for (let i = start; i < start + length; i++) sum += (samples[i] ?? 0) ** 2;
    return sum;
  },

  /** How much `size` samples from `start` differ from those a lag later, relative to the lags before; by lag. */
  _differences(samples, start, size, longest, room) {
    const re = new Float64Array(room), im = new Float64Array(room);
    const piece = (i) => samples[start + i] ?? 0;
    for (let i = 0; i < size + longest; i++) re[i] = piece(i);
    for (let i = 0; i < size; i++) im[i] = piece(i);
    this.fft(re, im); // both real sequences at once: the spectra are the even and odd parts
    const realProduct = new Float64Array(room), imaginaryProduct = new Float64Array(room);
    for (let k = 0; k < room; k++) {
      const m = (room - k) % room;
      const allRe = (re[k] + re[m]) / 2, allIm = (im[k] - im[m]) / 2;
      const firstRe = (im[k] + im[m]) / 2, firstIm = (re[m] - re[k]) / 2;
      realProduct[k] = allRe * firstRe + allIm * firstIm;
      imaginaryProduct[k] = -(allIm * firstRe - allRe * firstIm); // conjugated: a forward transform then goes back
    }
    this.fft(realProduct, imaginaryProduct);
    const differs = new Float64Array(longest + 1);
    let first = 0;
    for (let i = 0; i < size; i++) first += piece(i) ** 2;
    let later = first, sum = 0;
    differs[0] = 1;
    for (let lag = 1; lag <= longest; lag++) {
      later += piece(lag + size - 1) ** 2 - piece(lag - 1) ** 2;
      const difference = Math.max(0, first + later - (2 * realProduct[lag]) / room);
      sum += difference;
      differs[lag] = sum > 0 ? (difference * lag) / sum : 1;
    }
    return differs;
  },

  /** The period in samples, between lags; NaN where nothing repeats. */
  _period(differs, shortest, longest) {
    let best = shortest;
    for (let lag = shortest; lag < longest; lag++) {
      if (differs[lag] < this.DIP) {
        while (lag + 1 < longest && differs[lag + 1] < differs[lag]) lag++;
        best = lag;
        break;
      }
      if (differs[lag] < differs[best]) best = lag;
    }
    if (differs[best] > this.VOICED) return NaN;
    const before = differs[best - 1], at = differs[best], after = differs[best + 1];
    const bend = before - 2 * at + after;
    return bend > 0 ? best + (0.5 * (before - after)) / bend : best;
  },

  /** Without frames that stand alone or leap away from both neighbours. */
  _steady(f0) {
    const near = (a, b) => Math.abs(Math.log2(a / b)) < 0.35;
    return f0.map((hz, i) => (near(hz, f0[i - 1]) || near(hz, f0[i + 1]) ? hz : NaN));
  },

  /** What can be said of a pitch track: {median, low, high} in Hz (the middle 80 %), null where nobody speaks. */
  summary({ f0 }) {
    const voiced = [...f0].filter((hz) => hz > 0).sort((a, b) => a - b);
    if (!voiced.length) return null;
    const at = (share) => voiced[Math.min(voiced.length - 1, Math.floor(share * voiced.length))];
    return { median: at(0.5), low: at(0.1), high: at(0.9) };
  },

  /** Let the page answer now and then during long work. */
  _breathe: (i) => (i % 100 === 99 ? new Promise((resolve) => { setTimeout(resolve); }) : null),
};
