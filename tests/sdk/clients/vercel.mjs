// Vercel's AI SDK, with its providers for OpenAI-compatible servers, for OpenAI (the Responses API) and for Anthropic.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, embedMany, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { KEY, URL, assert, raises, run } from './report.mjs';

const gpt = createOpenAICompatible({ name: 'box', baseURL: `${URL}/v1`, apiKey: KEY, includeUsage: true });
const responses = createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY });
const claude = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY });
const plain = { prompt: 'The capital of France is', maxOutputTokens: 8, maxRetries: 0 };
const weather = tool({
  description: 'of a city',
  inputSchema: z.object({ city: z.string(), days: z.number() }),
  execute: async ({ city }) => `fine in ${city}`,
});

async function streamed(model) {
  const errors = [];
  const result = streamText({ ...plain, model, maxOutputTokens: 64, onError: ({ error }) => errors.push(error) });
  let text = '';
  for await (const part of result.textStream) text += part;
  if (errors.length) throw errors[0];
  return { text, usage: await result.usage };
}

function said({ text, usage }) {
  assert.ok(text);
  assert.ok(usage.outputTokens > 0);
}

const answers = async (model, maxOutputTokens = plain.maxOutputTokens) =>
  said(await generateText({ ...plain, maxOutputTokens, model }));
const streams = async (model) => said(await streamed(model));

async function uses(model) {
  const result = await generateText({
    ...plain, model, maxOutputTokens: 512, tools: { weather }, stopWhen: stepCountIs(2),
  });
  assert.equal(result.steps[0].toolCalls[0].toolName, 'weather');
  assert.ok(result.text);
}

await run({
  openai_chat: () => answers(gpt('gemma')),
  openai_stream: () => streams(gpt('gemma')),
  openai_tools: () => uses(gpt('tools')),
  async openai_reasoning() {
    for (const model of ['thinks', 'thinks-vllm'])
      assert.ok((await generateText({ ...plain, model: gpt(model) })).reasoningText);
  },
  async openai_embeddings() {
    const model = gpt.textEmbeddingModel ? gpt.textEmbeddingModel('embed') : gpt.embeddingModel('embed');
    const result = await embedMany({ model, values: ['First text', 'Second text'], maxRetries: 0 });
    assert.equal(result.embeddings.length, 2);
  },
  async openai_errors() {
    const missing = await raises(APICallError, () => generateText({ ...plain, model: gpt('nope') }), 'No active model');
    assert.equal(missing.statusCode, 404);
    assert.equal(missing.isRetryable, false);
    await raises(Error, () => streamed(gpt('cut')), '');
  },
  openai_responses: () => answers(responses('gemma'), 16),
  openai_responses_stream: () => streams(responses('gemma')),
  anthropic_messages: () => answers(claude('gemma')),
  anthropic_stream: () => streams(claude('gemma')),
  anthropic_tools: () => uses(claude('tools')),
  async anthropic_errors() {
    const missing = await raises(APICallError, () => generateText({ ...plain, model: claude('nope') }), 'No active model');
    assert.equal(missing.statusCode, 404);
    await raises(Error, () => streamed(claude('cut')), '');
  },
});
