// @ts-check
/**
 * Reads and writes the three chat protocols: OpenAI chat, OpenAI Responses, Anthropic messages.
 *
 * `ChatResponse` reads a stream event by event; whole bodies and requests are read too. Pure.
 */

/** The line before and after the progress text that the proxy sends while a model loads. */
const RULE = "━━━━━";

/** What one response has contained so far. */
export class ChatResponse {
  constructor() {
    this.content = "";
    this.thought = "";
    this.loading = "";
    this.error = "";
    /** @type {{name: string, text: string}[]} */
    this.calls = [];
    /** @type {any} */
    this.usage = null;
    /** @type {any} */
    this.timings = null;
    this.finish = "";
    this.isDone = false;
    this.isLoading = false;
  }

  /** @param {string} text one event's data */
  take(text) {
    if (text.trim() === "[DONE]") {
      this.isDone = true;
      return;
    }
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      return;
    }
    if (!event || typeof event !== "object") return;
    if (event.error) this.error = String(event.error.message || event.error);
    if (event.timings) this.timings = event.timings;
    const usage = event.usage || event.response?.usage || event.message?.usage;
    if (usage) this.usage = { ...this.usage, ...usage };
    if (Array.isArray(event.choices)) this.onChoice(event.choices[0]);
    else if (typeof event.type === "string") this.onTyped(event);
  }

  /** @param {any} choice */
  onChoice(choice) {
    if (!choice) return;
    if (choice.finish_reason) this.finish = choice.finish_reason;
    const delta = choice.delta || choice.message || {};
    if (typeof choice.text === "string") this.content += choice.text;
    if (typeof delta.content === "string") this.content += delta.content;
    const thought = delta.reasoning_content ?? delta.reasoning;
    if (typeof thought === "string") this.onThought(thought);
    for (const call of delta.tool_calls || []) {
      this.onCall(call.index ?? 0, call.function?.name || "", call.function?.arguments || "");
    }
  }

  /**
   * Loading text comes as thoughts between two rules.
   * @param {string} text
   */
  onThought(text) {
    this.thought += text;
    if (!this.thought.startsWith(RULE)) return;
    const end = this.thought.indexOf(`\n${RULE}\n`, RULE.length);
    this.isLoading = end < 0;
    if (end < 0) return;
    this.loading = this.thought.slice(RULE.length, end).trim();
    this.thought = this.thought.slice(end + RULE.length + 2).replace(/^ \n?/, "");
  }

  /**
   * @param {number} index
   * @param {string} name
   * @param {string} text
   */
  onCall(index, name, text) {
    const at = Math.min(Number(index) || 0, 63);
    while (this.calls.length <= at) this.calls.push({ name: "", text: "" });
    this.calls[at].name += name;
    this.calls[at].text += typeof text === "string" ? text : JSON.stringify(text);
  }

  /** @param {any} event */
  onTyped(event) {
    const delta = event.delta;
    switch (event.type) {
      case "content_block_start":
        if (event.content_block?.type === "tool_use") this.onCall(event.index, event.content_block.name || "", "");
        break;
      case "content_block_delta":
        if (delta?.type === "text_delta") this.content += delta.text || "";
        else if (delta?.type === "thinking_delta") this.onThought(delta.thinking || "");
        else if (delta?.type === "input_json_delta") this.onCall(event.index, "", delta.partial_json || "");
        break;
      case "message_delta":
        if (delta?.stop_reason) this.finish = delta.stop_reason;
        break;
      case "message_stop":
        this.isDone = true;
        break;
      case "response.output_text.delta":
        this.content += delta || "";
        break;
      case "response.reasoning_summary_text.delta":
      case "response.reasoning_text.delta":
        this.onThought(delta || "");
        break;
      case "response.output_item.added":
        if (event.item?.type === "function_call") this.onCall(event.output_index, event.item.name || "", "");
        break;
      case "response.function_call_arguments.delta":
        this.onCall(event.output_index, "", delta || "");
        break;
      case "response.completed":
      case "response.incomplete":
        this.finish = event.response?.status || "completed";
        this.isDone = true;
        break;
      case "response.failed":
        this.error = event.response?.error?.message || "failed";
        this.isDone = true;
        break;
      default:
    }
  }

  /** What the proxy says before the model speaks. */
  get loadingText() {
    return this.isLoading ? this.thought.replace(RULE, "").trim() : this.loading;
  }

  get thoughtText() {
    return this.isLoading ? "" : this.thought.trim();
  }

  get tools() {
    return this.calls.filter((call) => call.name || call.text);
  }
}

/**
 * Read a whole (not streamed) answer; null when it is none of the known shapes.
 * @param {any} body
 */
export function wholeAnswer(body) {
  const answer = new ChatResponse();
  answer.usage = body?.usage || null;
  answer.timings = body?.timings || null;
  if (Array.isArray(body?.choices)) {
    answer.onChoice(body.choices[0]);
  } else if (Array.isArray(body?.content)) {
    for (const [at, part] of body.content.entries()) {
      if (part?.type === "text") answer.content += part.text;
      else if (part?.type === "thinking") answer.thought += part.thinking;
      else if (part?.type === "tool_use") answer.onCall(at, part.name, part.input);
    }
  } else if (Array.isArray(body?.output)) {
    for (const [at, item] of body.output.entries()) {
      for (const part of item?.content || []) if (typeof part?.text === "string") answer.content += part.text;
      for (const part of item?.summary || []) if (typeof part?.text === "string") answer.thought += part.text;
      if (item?.type === "function_call") answer.onCall(at, item.name, item.arguments);
    }
  } else {
    return null;
  }
  return answer;
}

/**
 * The text in a message's content, whatever its shape.
 * @param {any} content
 * @returns {string}
 */
export function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content ? JSON.stringify(content) : "";
  return content.map((part) => {
    if (typeof part === "string") return part;
    if (typeof part?.text === "string") return part.text;
    if (part?.type === "tool_result") return textOf(part.content);
    return `[${part?.type || "part"}]`;
  }).join("\n");
}

/**
 * The conversation in a request's body; null when there is none.
 * @param {any} body
 * @returns {{role: string, text: string}[] | null}
 */
export function conversation(body) {
  const found = [];
  const system = body?.system ?? body?.instructions;
  if (system) found.push({ role: "system", text: textOf(system) });
  if (Array.isArray(body?.messages)) {
    for (const message of body.messages) found.push({ role: String(message?.role), text: textOf(message?.content) });
  } else if (typeof body?.input === "string" && body.instructions !== undefined) {
    found.push({ role: "user", text: body.input });
  } else if (Array.isArray(body?.input) && body.input.some((/** @type {any} */ item) => item?.role)) {
    for (const item of body.input) found.push({ role: String(item?.role || item?.type), text: textOf(item?.content ?? item) });
  } else if (typeof body?.prompt === "string") {
    found.push({ role: "prompt", text: body.prompt });
  }
  return found.length ? found : null;
}

/**
 * The body of a streaming chat request.
 * @param {"chat" | "messages" | "responses"} dialect
 * @param {{model: string, system: string, temperature: number | null, limit: number | null,
 *   messages: {role: string, text: string, images?: string[]}[]}} of
 */
export function chatRequest(dialect, of) {
  const temperature = of.temperature === null ? {} : { temperature: of.temperature };
  const base = { model: of.model, stream: true, ...temperature };
  const urlParts = (/** @type {string} */ data) => /^data:([^;]+);base64,(.*)$/s.exec(data);
  if (dialect === "messages") {
    const messages = of.messages.map(({ role, text, images }) => ({
      role,
      content: images?.length
        ? [...images.map((data) => {
            const [, kind, base64] = urlParts(data) || [];
            return { type: "image", source: { type: "base64", media_type: kind, data: base64 } };
          }), { type: "text", text }]
        : text,
    }));
    return { ...base, max_tokens: of.limit ?? 4096, ...(of.system ? { system: of.system } : {}), messages };
  }
  if (dialect === "responses") {
    const input = of.messages.map(({ role, text, images }) => ({
      role,
      content: [
        ...(images || []).map((data) => ({ type: "input_image", image_url: data })),
        { type: role === "assistant" ? "output_text" : "input_text", text },
      ],
    }));
    const limit = of.limit === null ? {} : { max_output_tokens: of.limit };
    return { ...base, ...limit, ...(of.system ? { instructions: of.system } : {}), input };
  }
  const messages = of.messages.map(({ role, text, images }) => ({
    role,
    content: images?.length
      ? [{ type: "text", text }, ...images.map((data) => ({ type: "image_url", image_url: { url: data } }))]
      : text,
  }));
  if (of.system) messages.unshift({ role: "system", content: of.system });
  const limit = of.limit === null ? {} : { max_tokens: of.limit };
  return { ...base, ...limit, stream_options: { include_usage: true }, messages };
}

export const CHAT_PATHS = { chat: "/v1/chat/completions", messages: "/v1/messages", responses: "/v1/responses" };
