"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const round = (v, digits) => String(Number(v.toFixed(digits)));
  const lasting = (ms) => ms >= 1000 ? round(ms / 1000, 2) + " s" : round(ms, ms < 10 ? 1 : 0) + " ms";
  const seconds = (u, v) => v == null ? "–" : round(v, 2) + " s";
  const narrow = () => window.innerWidth < 640;

  // shade fills the judged window and the time in which the fault was in force.
  function shade(u) {
    const ctx = u.ctx, top = u.bbox.top, left = u.bbox.left, right = left + u.bbox.width;
    const fill = (range, name) => {
      if (!range) return;
      const from = Math.max(u.valToPos(range[0], "x", true), left), to = Math.min(u.valToPos(range[1], "x", true), right);
      if (to <= from) return;
      ctx.fillStyle = colour(name);
      ctx.fillRect(from, top, to - from, u.bbox.height);
    };
    ctx.save();
    fill(data.window, "window");
    fill(data.broken, "broken");
    ctx.restore();
  }

  // mark draws a line with a letter at each mark, a letter never over another.
  function mark(u) {
    const ctx = u.ctx, scale = devicePixelRatio || 1, left = u.bbox.left, right = left + u.bbox.width;
    ctx.save();
    ctx.strokeStyle = colour("mark");
    ctx.fillStyle = colour("soft");
    ctx.lineWidth = scale;
    ctx.font = 11 * scale + "px system-ui, sans-serif";
    ctx.textAlign = "center";
    let last = -Infinity;
    for (const m of data.marks) {
      const x = Math.round(u.valToPos(m.at, "x", true));
      if (x < left || x > right) continue;
      ctx.setLineDash([3 * scale, 3 * scale]);
      ctx.beginPath();
      ctx.moveTo(x, u.bbox.top);
      ctx.lineTo(x, u.bbox.top + u.bbox.height);
      ctx.stroke();
      last = Math.max(x, last + 9 * scale);
      if (last < right + 12 * scale) ctx.fillText(m.letter, last, u.bbox.top - 4 * scale);
    }
    ctx.restore();
  }

  // promised draws the limit of a latency.
  function promised(u) {
    for (const limit of data.limits || []) {
      const y = u.valToPos(limit.ms, "y", true), scale = devicePixelRatio || 1;
      if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) continue;
      const ctx = u.ctx;
      ctx.save();
      ctx.strokeStyle = colour("soft");
      ctx.setLineDash([8 * scale, 4 * scale]);
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, y);
      ctx.lineTo(u.bbox.left + u.bbox.width, y);
      ctx.stroke();
      ctx.font = 11 * scale + "px system-ui, sans-serif";
      ctx.textAlign = "right";
      const text = limit.name + " " + lasting(limit.ms), right = u.bbox.left + u.bbox.width - 6 * scale, long = ctx.measureText(text).width;
      ctx.fillStyle = colour("card");
      ctx.fillRect(right - long - 3 * scale, y - 15 * scale, long + 6 * scale, 13 * scale);
      ctx.fillStyle = colour("soft");
      ctx.fillText(text, right, y - 5 * scale);
      ctx.restore();
    }
  }

  // nearest is the index of the next value that is there within a slice of time,
  // so that one cursor reads the lines and the points.
  function nearest(u, series, at, x) {
    const values = u.data[series], times = u.data[0], within = Math.max(...data.buckets.length) || 1;
    if (series === 0 || values[at] != null) return at;
    const there = (i) => values[i] != null && Math.abs(times[i] - x) <= within;
    const near = (i) => i >= 0 && i < times.length && Math.abs(times[i] - x) <= within;
    for (let d = 1; near(at - d) || near(at + d); d++) {
      if (there(at - d)) return at - d;
      if (there(at + d)) return at + d;
    }
    return null;
  }

  const charts = [];
  function chart(id, columns, options) {
    const place = document.getElementById(id);
    const axis = { stroke: colour("soft"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 }, font: "12px system-ui, sans-serif" };
    charts.push(new uPlot({
      width: place.clientWidth,
      height: options.height,
      padding: [16, 10, 0, 0],
      cursor: { sync: { key: "time", scales: ["x", null] }, dataIdx: nearest, points: { size: 7 } },
      scales: { x: { time: false }, y: options.scale },
      axes: [
        { ...axis, size: 30, space: 64, values: (u, all) => all.map((v) => round(v, 2) + " s") },
        { ...axis, size: narrow() ? 58 : 64, values: options.values, ...options.axis },
      ],
      series: [{ label: "from the fault", value: seconds }, ...options.series],
      hooks: { drawClear: [shade], draw: [mark, ...(options.draw || [])] },
    }, columns, place));
  }

  const b = data.buckets;
  const ends = (values, end) => values.concat([end]);
  const last = (values) => values.length ? values[values.length - 1] : null;
  const steps = uPlot.paths.stepped({ align: 1 });

  function rates() {
    const good = b.good, slow = good.map((v, i) => v + b.slow[i]), all = slow.map((v, i) => v + b.failed[i]);
    const area = (label, name, own) => ({
      label, stroke: colour(name), fill: colour(name), width: 1, paths: steps, points: { show: false },
      value: (u, v, s, i) => i == null || v == null ? "–" : round(own[Math.min(i, own.length - 1)], 1) + "/s",
    });
    chart("rate", [ends(b.at, data.to), ends(all, last(all)), ends(slow, last(slow)), ends(good, last(good))], {
      height: 190,
      scale: { range: (u, min, max) => [0, Math.max(max * 1.05, 1)] },
      values: (u, all) => all.map((v) => v + "/s"),
      series: [area("failed", "bad", b.failed), area("slow", "slow", b.slow), area("answered well", "good", b.good)],
    });
  }

  // Lines and points share one axis of time: rows of both, in order.
  function latencies() {
    const rows = b.at.map((at, i) => [at + b.length[i] / 2, b.p50[i] || null, b.p99[i] || null, null, null, null]);
    const p = data.points;
    for (let i = 0; i < p.at.length; i++) {
      const row = [p.at[i], null, null, null, null, null];
      row[3 + p.kind[i]] = p.ms[i];
      rows.push(row);
    }
    rows.push([data.from, null, null, null, null, null], [data.to, null, null, null, null, null]);
    rows.sort((x, y) => x[0] - y[0]);
    const columns = [0, 1, 2, 3, 4, 5].map((c) => rows.map((r) => r[c]));
    const value = (u, v) => v == null ? "–" : lasting(v);
    const line = (label, name) => ({ label, value, stroke: colour(name), width: 2, spanGaps: true, points: { show: false } });
    const dots = (label, name, size) => ({ label, value, stroke: colour(name), fill: colour(name), paths: () => null, points: { show: true, size, width: 0, fill: colour(name), stroke: colour(name) } });
    const series = [line("p50", "p50"), line("p99", "p99")];
    if (p.at.length > 0) series.push(dots("good", "good", 2), dots("slow", "slow", 4), dots("failed", "bad", 5));
    // Points lie below lines.
    const order = series.length > 2 ? [2, 3, 4, 0, 1] : [0, 1];
    chart("latency", [columns[0], ...order.map((i) => columns[i + 1])], {
      height: 300,
      scale: { distr: 3, range: (u, min, max) => min == null ? [1, 1000] : uPlot.rangeLog(min, max, 10, true) },
      values: (u, all) => all.map((v) => v == null ? "" : lasting(v)),
      series: order.map((i) => series[i]),
      draw: [promised],
    });
  }

  function endpoints() {
    chart("ready", [[data.from, ...b.at.map((at, i) => at + b.length[i])], [b.ready[0], ...b.ready]], {
      height: 130,
      scale: { range: (u, min, max) => [0, Math.max(max, 1) + 0.5] },
      values: (u, all) => all.map(String),
      axis: { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500], space: 18 },
      series: [{ label: "ready endpoints", stroke: colour("ready"), width: 2, paths: steps, points: { show: false }, value: (u, v) => v == null ? "–" : String(v) }],
    });
  }

  function draw() {
    for (const c of charts.splice(0)) c.destroy();
    if (b.at.length === 0) return;
    rates();
    latencies();
    endpoints();
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    for (const c of charts) c.setSize({ width: c.root.parentElement.clientWidth, height: c.height });
  });
})();
