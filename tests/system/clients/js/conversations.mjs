// Streamed requests by the official JavaScript clients, all at once.
//
// node conversations.mjs BASE_URL MODEL '[["chat", {"fault": "500"}], …]' prints a list of
// {"text": …} or {"error": class, "message": …, "status": …}, in the same order.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [baseURL, model, wanted] = process.argv.slice(2);
const messages = [{ role: "user", content: "hello" }];

const openai = (options) => new OpenAI({ baseURL: `${baseURL}/v1`, ...options });
const anthropic = (options) => new Anthropic({ baseURL, ...options });

async function joined(events, textOf) {
  let text = "";
  for await (const event of events) text += textOf(event) ?? "";
  return text;
}

const conversations = {
  async chat(options, fields) {
    const body = { model, messages, stream: true, ...fields };
    const stream = await openai(options).chat.completions.create(body);
    return joined(stream, (chunk) => chunk.choices[0]?.delta.content);
  },
  async "chat helper"(options, fields) {
    const answer = await openai(options).chat.completions.stream({ model, messages, ...fields }).finalChatCompletion();
    return answer.choices[0].message.content;
  },
  async "whole chat"(options, fields, request) {
    const answer = await openai(options).chat.completions.create({ model, messages, ...fields }, request);
    return answer.choices[0].message.content;
  },
  async completions(options, fields) {
    const body = { model, prompt: "hello", stream: true, ...fields };
    return joined(await openai(options).completions.create(body), (chunk) => chunk.choices[0]?.text);
  },
  async responses(options, fields) {
    const body = { model, input: "hello", stream: true, ...fields };
    const stream = await openai(options).responses.create(body);
    return joined(stream, (event) => (event.type === "response.output_text.delta" ? event.delta : ""));
  },
  async messages(options, fields) {
    const body = { model, messages, max_tokens: 9, stream: true, ...fields };
    const stream = await anthropic(options).messages.create(body);
    return joined(stream, (event) => (event.type === "content_block_delta" ? event.delta.text : ""));
  },
  async "messages helper"(options, fields) {
    const body = { model, messages, max_tokens: 9, ...fields };
    const answer = await anthropic(options).messages.stream(body).finalMessage();
    return answer.content.map((part) => part.text).join("");
  },
};

async function converse([kind, { timeout, ...fields } = {}]) {
  const options = { apiKey: "none", maxRetries: 0 };
  try {
    return { text: await conversations[kind](options, fields, timeout ? { timeout } : undefined) };
  } catch (error) {
    return { error: error.constructor.name, message: String(error.message), status: error.status ?? null };
  }
}

console.log(JSON.stringify(await Promise.all(JSON.parse(wanted).map(converse))));
process.exit(0);
