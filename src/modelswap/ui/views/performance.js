// @ts-check
/** Shows the hardware of the machine, and its load of the last hour as charts. */

import { RequestError, askJson } from "../api/client.js";
import { button, copy, empty, fill, h, remember, remembered, select } from "../lib/dom.js";
import { bytes } from "../lib/format.js";
import { lines } from "../lib/chart.js";

const EVERY = 5000; // ms; the server samples as often
const HOUR = 3_600_000; // ms; the server keeps as much

/** @param {any} sample */
const at = (sample) => new Date(sample.timestamp).getTime();

/**
 * @param {any[]} samples
 * @param {string} name
 * @param {(sample: any) => number} value
 * @returns {import("../lib/chart.js").Series}
 */
function series(samples, name, value) {
  /** @type {[number, number][]} */
  const points = samples.map((sample) => [at(sample), value(sample)]);
  return { name, points: points.filter((point) => point[1] >= 0) }; // what is not known is less than nothing
}

/**
 * Speeds of each network link, from its counters.
 * @param {any[]} samples
 */
function network(samples) {
  /** @type {Map<string, import("../lib/chart.js").Series>} */
  const found = new Map();
  samples.forEach((sample, index) => {
    const before = samples[index - 1];
    if (!before) return;
    const seconds = (at(sample) - at(before)) / 1000;
    for (const link of sample.net_io || []) {
      const past = (before.net_io || []).find((/** @type {any} */ each) => each.name === link.name);
      if (!past || seconds <= 0) continue;
      for (const [key, arrow] of [["bytes_recv", "in"], ["bytes_sent", "out"]]) {
        const name = `${link.name} ${arrow}`;
        if (!found.has(name)) found.set(name, { name, points: [] });
        found.get(name)?.points.push([at(sample), Math.max(0, link[key] - past[key]) / seconds]);
      }
    }
  });
  return [...found.values()].filter((each) => each.points.some((point) => point[1] > 0)).slice(0, 8);
}

/** @param {any[]} samples @param {number} from @param {number} to */
function hostCharts(samples, from, to) {
  const mean = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const last = samples.at(-1);
  const charts = [
    lines({ title: `CPU, ${last.cpu_util_per_core.length} cores`, unit: "%", top: 100, from, to,
      series: [series(samples, "mean", (each) => mean(each.cpu_util_per_core)),
        series(samples, "busiest core", (each) => Math.max(0, ...each.cpu_util_per_core))] }),
    lines({ title: "Memory", unit: "MiB", top: last.mem_total_mb, from, to, show: (value) => bytes(value * 1048576),
      series: [series(samples, "used", (each) => each.mem_used_mb), ...(last.swap_total_mb
        ? [series(samples, "swap", (each) => each.swap_used_mb)] : [])] }),
    lines({ title: "Load, processes that want to run", unit: "", from, to, show: (value) => value.toFixed(2),
      series: [series(samples, "1 min", (each) => each.load_avg_1), series(samples, "5 min", (each) => each.load_avg_5),
        series(samples, "15 min", (each) => each.load_avg_15)] }),
  ];
  const links = network(samples);
  if (links.length) charts.push(lines({ title: "Network", unit: "B/s", from, to, show: (value) => `${bytes(value)}/s`,
    series: links }));
  return charts;
}

/** @param {any[]} samples @param {number} from @param {number} to */
function gpuCharts(samples, from, to) {
  /** @type {Map<number, any[]>} */
  const groups = new Map();
  for (const sample of samples) groups.set(sample.id, [...(groups.get(sample.id) || []), sample]);
  const gpus = [...groups.entries()].sort((a, b) => a[0] - b[0]);
  if (!gpus.length) return [];
  const all = (/** @type {string} */ key) => gpus.map(([id, rows]) => series(rows,
    gpus.length > 1 ? `${id} ${rows[0].name}` : rows[0].name, (each) => each[key]));
  const any = (/** @type {string} */ key) => samples.some((each) => each[key] > 0);
  const total = Math.max(...gpus.map(([, rows]) => rows.at(-1).mem_total_mb));
  return [
    lines({ title: "GPU", unit: "%", top: 100, from, to, series: all("gpu_util_pct") }),
    lines({ title: "GPU memory", unit: "MiB", top: total || undefined, from, to, show: (value) => bytes(value * 1048576),
      series: all("mem_used_mb") }),
    any("temp_c") && lines({ title: "GPU temperature", unit: "°C", top: 110, from, to, series: all("temp_c") }),
    any("vram_temp_c") && lines({ title: "GPU memory temperature", unit: "°C", top: 120, from, to, series: all("vram_temp_c") }),
    any("power_draw_w") && lines({ title: "GPU power", unit: "W", from, to, series: all("power_draw_w") }),
    any("fan_speed_pct") && lines({ title: "GPU fans", unit: "%", top: 100, from, to, series: all("fan_speed_pct") }),
  ];
}

/** @param {any} facts @returns {[string, string][]} */
function hardwareFacts(facts) {
  const known = (/** @type {any[]} */ ...parts) => parts.filter((part) => part !== null && part !== undefined && part !== "").join(" ");
  const size = (/** @type {any} */ n) => (n ? bytes(n) : "");
  const os = facts.operating_system || {};
  const cpu = facts.cpu || {};
  /** @type {[string, string][]} */
  const pairs = [["System", known(os.name || os.family, os.version)], ["Kernel", known(os.kernel)],
    ["Architecture", known(facts.architecture?.name)],
    ["Runs in", known(facts.environment?.kind === "native" ? "the system itself" : facts.environment?.name
      || facts.environment?.kind)],
    ["CPU", known(cpu.model || cpu.vendor)], ["Cores", cpu.logical_thread_count
      ? known(cpu.physical_core_count && `${cpu.physical_core_count} cores,`, cpu.logical_thread_count, "threads") : ""],
    ["Memory", size(facts.memory?.capacity_bytes)]];
  for (const each of facts.accelerators || []) {
    pairs.push([`${String(each.kind || "accelerator").toUpperCase()} ${each.index}`,
      known(each.vendor, each.model, each.architecture && `(${each.architecture})`,
      size(each.memory?.capacity_bytes) && `· ${size(each.memory.capacity_bytes)} ${each.memory.kind?.replace("_", " ") || ""}`,
      each.driver?.version && `· driver ${each.driver.version}`, each.power_limit_watts && `· up to ${each.power_limit_watts} W`)]);
  }
  return pairs.map(([name, value]) => [name, value || "not detected"]);
}

export function performanceView() {
  const charts = h("div", { class: "charts" });
  const hardware = h("section", { class: "card" }, h("h2", null, "Hardware"), h("p", { class: "muted" }, "…"));
  let span = remembered("performance-span", 15);
  /** @type {any[]} */
  let hosts = [];
  /** @type {any[]} */
  let gpus = [];
  let stopped = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;

  function draw() {
    const to = Math.max(hosts.length ? at(hosts.at(-1)) : 0, gpus.length ? at(gpus.at(-1)) : 0) || Date.now();
    const first = Math.min(hosts.length ? at(hosts[0]) : to, gpus.length ? at(gpus[0]) : to);
    const from = Math.max(to - span * 60_000, Math.min(first, to - 60_000));
    const near = (/** @type {any[]} */ all) => all.filter((sample) => at(sample) >= from);
    if (charts.matches(":hover")) return; // a user reads a value
    if (!hosts.length) return fill(charts, empty("No samples yet", "The first one comes a moment after the start."));
    fill(charts, gpuCharts(near(gpus), from, to), hostCharts(near(hosts).length ? near(hosts) : hosts.slice(-1), from, to));
    if (!gpus.length) charts.append(h("p", { class: "muted" }, "No GPU was found that reports its figures."));
  }
  async function refresh() {
    clearTimeout(due);
    const newest = hosts.at(-1)?.timestamp;
    try {
      const report = await askJson("/api/performance", { query: newest ? { after: newest } : {} });
      const bound = Date.now() - HOUR;
      hosts = [...hosts, ...(report.sys_stats || [])].filter((sample) => at(sample) > bound);
      gpus = [...gpus, ...(report.gpu_stats || [])].filter((sample) => at(sample) > bound);
      draw();
    } catch (error) {
      if (error instanceof RequestError && error.status === 503) return fill(charts,
        empty("Monitoring is switched off", "See performance.disabled in the configuration."));
      if (!hosts.length) fill(charts, empty("No figures", /** @type {Error} */ (error).message));
    }
    if (!stopped && !document.hidden) due = setTimeout(refresh, EVERY);
  }
  const seen = () => {
    if (!document.hidden) refresh();
  };
  document.addEventListener("visibilitychange", seen);
  refresh();
  askJson("/api/hardware").then((facts) => {
    const pairs = hardwareFacts(facts);
    fill(hardware, h("div", { class: "row" }, h("h2", null, "Hardware"), h("span", { class: "grow" }),
      button("Copy", () => copy(pairs.map(([name, value]) => `${name}: ${value}`).join("\n")), { class: "quiet" })),
      h("dl", { class: "facts" }, pairs.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))));
  }).catch((error) => fill(hardware, h("h2", null, "Hardware"), h("p", { class: "muted" }, error.message)));
  const spans = select([["5", "Last 5 minutes"], ["15", "Last 15 minutes"], ["60", "Last hour"]],
    { value: String(span), "aria-label": "Time shown", onchange: (/** @type {any} */ event) => {
    span = Number(event.target.value);
    remember("performance-span", span);
    draw();
  } });
  return {
    title: "Performance",
    element: h("div", null, h("div", { class: "row head" }, h("h1", null, "Performance"), h("span", { class: "grow" }), spans),
      h("section", { class: "card", "aria-label": "Figures" }, charts), hardware),
    stop() {
      stopped = true;
      clearTimeout(due);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
