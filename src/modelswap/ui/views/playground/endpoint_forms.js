// @ts-check
/** Shows the forms for embeddings, rerank, images, speech and transcription. */

import { ask, askJson, isAbort } from "../../api/client.js";
import { modelChoice } from "./model_choice.js";
import { button, copy, field, fill, h, remember, remembered, setText, select, toast } from "../../lib/dom.js";
import { duration } from "../../lib/format.js";

/**
 * A form with a button that becomes Stop while it runs, and a place for what comes out.
 * @param {string} name
 * @param {string} label of the button
 * @param {any[]} controls
 * @param {(signal: AbortSignal) => Promise<any>} run gives what to show
 */
function trial(name, label, controls, run) {
  const result = h("div", { class: "result", "aria-live": "polite" });
  /** @type {AbortController | null} */
  let busy = null;
  const go = h("button", { type: "submit", class: "primary" }, label);
  async function submit(/** @type {Event} */ event) {
    event.preventDefault();
    if (busy) return busy.abort();
    const mine = new AbortController();
    busy = mine;
    setText(go, "Stop");
    const began = performance.now();
    const status = h("p", { class: "muted" }, "Running …");
    fill(result, status);
    const timer = setInterval(() => setText(status, `Running … ${duration(performance.now() - began)}`), 200);
    try {
      const shown = await run(mine.signal);
      fill(result, shown, h("p", { class: "muted small-text" }, `Took ${duration(performance.now() - began)}.`));
    } catch (error) {
      fill(result, h("p", { class: isAbort(error) ? "muted" : "bad", role: "alert" },
        isAbort(error) ? "Stopped." : /** @type {Error} */ (error).message));
    } finally {
      clearInterval(timer);
      busy = null;
      setText(go, label);
    }
  }
  return h("form", { class: "trial", "aria-label": name, onsubmit: submit }, controls, go, result);
}

/**
 * A control whose value is remembered.
 * @param {string} tag
 * @param {string} name
 * @param {Record<string, any>} props
 */
function kept(tag, name, props) {
  const control = h(tag, { ...props, value: remembered(name, props.value ?? ""), onchange: () => remember(name, control.value) });
  return control;
}

export function embeddingsPane() {
  const model = modelChoice("embeddings");
  const text = kept("textarea", "embeddings-text",
    { rows: 5, value: "A cat sleeps on the sofa.\nThe kitten naps.\nShares fell sharply today.", required: true });
  return trial("Embeddings", "Embed", [field("Model", model), field("Texts, one per line", text)], async (signal) => {
    const texts = text.value.split("\n").map((/** @type {string} */ line) => line.trim()).filter(Boolean);
    const { data } = await askJson("/v1/embeddings", { json: { model: model.value, input: texts, encoding_format: "float" },
      signal });
    const vectors = data.map((/** @type {any} */ each) => each.embedding).filter(Array.isArray);
    if (!vectors.length) throw new Error("There are no vectors in the answer");
    const norm = (/** @type {number[]} */ v) => Math.hypot(...v);
    const near = (/** @type {number[]} */ a, /** @type {number[]} */ b) => a.reduce((sum, value, at) => sum + value * b[at],
      0) / (norm(a) * norm(b) || 1);
    return [h("p", null, `${vectors.length} vectors of ${vectors[0].length} numbers. How near they are to each other:`),
      h("div", { class: "scroll" }, h("table", { class: "plain" }, h("tbody", null,
        vectors.map((/** @type {number[]} */ a, /** @type {number} */ at) =>
        h("tr", null, h("th", { scope: "row", class: "cut" }, texts[at]),
          vectors.map((/** @type {number[]} */ b) => h("td", { class: "num" }, near(a, b).toFixed(3)))))))),
      h("details", null, h("summary", null, "First vector"), h("pre", { class: "code wrap" },
        JSON.stringify(vectors[0].slice(0, 64))))];
  });
}

export function rerankPane() {
  const model = modelChoice("rerank", ["reranker"]);
  const query = kept("input", "rerank-query", { type: "text", value: "What do pandas eat?", required: true });
  const text = kept("textarea", "rerank-text",
    { rows: 6, value: "Pandas eat bamboo almost all day.\nThe stock market closed early.\nBears are mammals.", required: true });
  return trial("Rerank", "Rank", [field("Model", model), field("Question", query), field("Documents, one per line", text)],
    async (signal) => {
    const documents = text.value.split("\n").map((/** @type {string} */ line) => line.trim()).filter(Boolean);
    const { results } = await askJson("/v1/rerank", { json: { model: model.value, query: query.value, documents }, signal });
    if (!Array.isArray(results)) throw new Error("There are no results in the answer");
    const ranked = [...results].sort((a, b) => b.relevance_score - a.relevance_score);
    return h("ol", { class: "ranked" }, ranked.map((each) => h("li", null, h("b", null, Number(each.relevance_score).toFixed(3)),
      " ", documents[each.index] ?? `document ${each.index}`)));
  });
}

export function imagePane() {
  const model = modelChoice("image", ["image_generation", "image_to_image"]);
  const prompt = kept("textarea", "image-prompt", { rows: 3, placeholder: "What to draw", required: true });
  const size = select(["512x512", "1024x1024", "1024x768", "1280x720", "1792x1024", "768x1024", "720x1280", "1024x1792"],
    { value: remembered("image-size", "1024x1024"), onchange: () => remember("image-size", size.value) });
  const api = select([["openai", "/v1/images/generations"], ["sdapi", "/sdapi/v1/txt2img"]],
    { value: remembered("image-api", "openai"), onchange: () => { remember("image-api",
    api.value); more.hidden = api.value !== "sdapi"; } });
  const number = (/** @type {string} */ label, /** @type {string} */ name, /** @type {any} */ value, /** @type {any} */ props) => {
    const control = kept("input", `image-${name}`, { type: "number", value, ...props });
    return { name, control, element: field(label, control) };
  };
  const numbers = [number("Steps", "steps", 20, { min: 1, max: 150 }), number("Guidance (cfg)", "cfg_scale", 7,
    { min: 1, max: 30, step: 0.5 }), number("Seed, -1 for any", "seed", -1, {}),
    number("How many", "batch_size", 1, { min: 1, max: 8 })];
  const negative = kept("input", "image-negative", { type: "text", placeholder: "What not to draw" });
  const more = h("div", { class: "filters", hidden: api.value !== "sdapi" }, numbers.map((each) => each.element),
    field("Negative prompt", negative));
  return trial("Images", "Draw", [field("Model", model), field("Prompt", prompt),
    h("div", { class: "filters" }, field("Size", size), field("Endpoint", api)), more], async (signal) => {
    /** @type {string[]} */
    let found;
    if (api.value === "sdapi") {
      const [width, height] = size.value.split("x").map(Number);
      const body = { model: model.value, prompt: prompt.value, negative_prompt: negative.value, width, height,
        ...Object.fromEntries(numbers.map((each) => [each.name, Number(each.control.value)])) };
      found = (await askJson("/sdapi/v1/txt2img", { json: body, signal })).images || [];
    } else {
      const { data } = await askJson("/v1/images/generations", { json: { model: model.value, prompt: prompt.value, n: 1,
        size: size.value, response_format: "b64_json" }, signal });
      found = (data || []).map((/** @type {any} */ each) => each.b64_json).filter(Boolean);
      if (!found.length && data?.[0]?.url) return h("p", null, "The picture is at ", h("code", null, String(data[0].url)));
    }
    if (!found.length) throw new Error("There is no picture in the answer");
    return h("div", { class: "pictures" }, found.map((data, at) => {
      const source = data.startsWith("data:image/") ? data : `data:image/png;base64,${data}`;
      return h("figure", null, h("img", { src: source, alt: `Picture ${at + 1}: ${prompt.value.slice(0, 200)}`,
        class: "picture" }), h("figcaption", null, h("a", { href: source, download: `picture-${at + 1}.png` }, "Save")));
    }));
  });
}

const VOICES = ["alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse"];

export function speechPane() {
  const model = modelChoice("speech", ["audio_speech"]);
  const text = kept("textarea", "speech-text", { rows: 3, value: "Hello. This is what I sound like.", required: true });
  const list = h("datalist", { id: "voices" }, VOICES.map((voice) => h("option", { value: voice })));
  const voice = kept("input", "speech-voice", { type: "text", list: "voices", value: "coral" });
  const voices = button("Ask the model for its voices", async () => {
    try {
      const found = await askJson("/v1/audio/voices", { query: { model: model.value } });
      const names = (Array.isArray(found) ? found : found.voices || []).map((/** @type {any} */ each) => (typeof each === "string"
        ? each : each?.id)).filter(Boolean);
      fill(list, names.map((/** @type {string} */ name) => h("option", { value: name })));
      if (names.length) voice.value = names[0];
      toast(`${names.length} voices`);
    } catch (error) {
      toast(`No voices: ${/** @type {Error} */ (error).message}`, "error");
    }
  }, { class: "quiet" });
  let before = "";
  return trial("Speech", "Speak", [field("Model", model), field("Text", text),
    h("div", { class: "row" }, field("Voice", voice), list, voices)], async (signal) => {
    const response = await ask("/v1/audio/speech", { json: { model: model.value, input: text.value, voice: voice.value }, signal });
    const sound = await response.blob();
    if (before) URL.revokeObjectURL(before);
    before = URL.createObjectURL(sound);
    const kind = (sound.type.split(";")[0].split("/")[1] || "mp3").replace("mpeg", "mp3").replace("x-wav", "wav");
    return h("div", null, h("audio", { src: before, controls: true }), h("p", null,
      h("a", { href: before, download: `${voice.value || "speech"}.${kind}` }, "Save")));
  });
}

export function transcriptionPane() {
  const model = modelChoice("transcription", ["audio_transcriptions"]);
  const file = h("input", { type: "file", accept: "audio/*,video/*,.mp3,.wav,.ogg,.flac,.m4a,.webm", required: true });
  const language = kept("input", "transcription-language", { type: "text", placeholder: "Recognised by itself" });
  const task = select([["/v1/audio/transcriptions", "Transcribe"], ["/v1/audio/translations", "Translate into English"]], {});
  return trial("Transcription", "Go", [field("Model", model), field("Sound file", file),
    h("div", { class: "filters" }, field("Task", task), field("Language", language))], async (signal) => {
    const body = new FormData();
    body.append("model", model.value);
    if (language.value.trim()) body.append("language", language.value.trim());
    body.append("file", file.files[0]);
    const response = await ask(task.value, { method: "POST", body, signal });
    const raw = await response.text();
    let words = raw;
    try {
      const parsed = JSON.parse(raw);
      if (typeof parsed?.text === "string") words = parsed.text;
    } catch {
      // Plain text, subtitles: shown as they are.
    }
    return h("div", null, h("pre", { class: "code wrap" }, words), button("Copy", () => copy(words), { class: "quiet" }));
  });
}
