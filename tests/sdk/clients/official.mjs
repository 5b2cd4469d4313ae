// OpenAI's and Anthropic's SDKs for Node.
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { ASK, KEY, URL, assert, raises, run } from './report.mjs';

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0 });
const claude = new Anthropic({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const schema = { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } };
const tools = ['weather', 'clock'].map((name) => ({ type: 'function', function: { name, parameters: schema } }));
const flat = tools.map((one) => ({ type: 'function', strict: false, ...one.function }));
const names = (response) => response.output.filter((item) => item.type === 'function_call').map((item) => item.name);
const claudeTools = ['weather', 'clock'].map((name) => ({ name, input_schema: schema }));

await run({
  async openai_chat() {
    const answer = await client.chat.completions.create({ model: 'gemma', messages: ASK, max_tokens: 8 });
    assert.ok(answer.choices[0].message.content);
    assert.ok(answer.usage.completion_tokens > 0);
  },
  async openai_stream() {
    const options = { model: 'gemma', messages: ASK, max_tokens: 8, stream: true };
    let text = '';
    let usage = null;
    for await (const chunk of await client.chat.completions.create({
      ...options,
      stream_options: { include_usage: true },
    })) {
      text += chunk.choices[0]?.delta?.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.ok(text);
    assert.ok(usage.completion_tokens > 0);
  },
  async openai_stream_helper() {
    const stream = client.chat.completions.stream({ model: 'tools', messages: ASK, tools });
    const message = (await stream.finalChatCompletion()).choices[0].message;
    assert.equal(message.role, 'assistant');
    assert.deepEqual(message.tool_calls.map((call) => call.function.name), ['weather', 'clock']);
    assert.equal(typeof JSON.parse(message.tool_calls[0].function.arguments).city, 'string');
  },
  async openai_responses() {
    const whole = await client.responses.create({ model: 'gemma', input: 'The capital of France is', max_output_tokens: 8 });
    assert.ok(whole.output_text);
    assert.ok(whole.usage.output_tokens > 0);
    const called = await client.responses.create({ model: 'tools', input: 'Weather?', tools: flat });
    assert.deepEqual(names(called), ['weather', 'clock']);
  },
  async openai_responses_stream() {
    const asked = { model: 'gemma', input: 'The capital of France is', max_output_tokens: 8 };
    assert.ok((await client.responses.stream(asked).finalResponse()).output_text);
    const called = await client.responses.stream({ model: 'tools', input: 'Weather?', tools: flat }).finalResponse();
    assert.deepEqual(names(called), ['weather', 'clock']);
  },
  async openai_tools() {
    const asked = { model: 'tools', tools };
    const { message } = (await client.chat.completions.create({ ...asked, messages: ASK })).choices[0];
    const results = message.tool_calls.map((call) => ({ role: 'tool', tool_call_id: call.id, content: 'fine' }));
    const answer = await client.chat.completions.create({ ...asked, messages: [...ASK, message, ...results] });
    assert.ok(answer.choices[0].message.content);
  },
  async openai_reasoning() {
    for (const [model, member] of [['thinks', 'reasoning_content'], ['thinks-vllm', 'reasoning']])
      assert.ok((await client.chat.completions.create({ model, messages: ASK })).choices[0].message[member]);
  },
  async openai_embeddings() {
    const answer = await client.embeddings.create({ model: 'embed', input: ['First text', 'Second text'] });
    assert.equal(answer.data.length, 2);
    assert.equal(typeof answer.data[0].embedding[0], 'number');
  },
  async openai_models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes('gemma'));
    assert.equal((await client.models.retrieve('gemma')).id, 'gemma');
  },
  async openai_errors() {
    const ask = (options) => client.chat.completions.create({ model: 'gemma', messages: ASK, ...options });
    const missing = await raises(OpenAI.NotFoundError, () => ask({ model: 'nope' }));
    assert.equal(missing.code, 'model_not_found');
    assert.ok(missing.requestID.startsWith('req_'));
    await raises(OpenAI.UnprocessableEntityError, () => ask({ temperature: 'x' }));
    await raises(OpenAI.BadRequestError, () => ask({ messages: [] }));
    await raises(OpenAI.InternalServerError, () => ask({ model: 'ill' }), 'the script says so');
    const stranger = client.withOptions({ apiKey: 'sk-wrong' });
    await raises(OpenAI.AuthenticationError, () => stranger.models.list());
  },
  async openai_error_in_a_stream() {
    const stream = await client.chat.completions.create({ model: 'cut', messages: ASK, stream: true });
    await raises(OpenAI.APIError, async () => { for await (const _ of stream); }, 'broke the connection');
  },
  async anthropic_messages() {
    const message = await claude.messages.create({ model: 'gemma', messages: ASK, max_tokens: 8 });
    assert.ok(message.content[0].text);
    assert.ok(message.usage.output_tokens > 0);
  },
  async anthropic_stream() {
    const stream = claude.messages.stream({ model: 'gemma', messages: ASK, max_tokens: 8 });
    let text = '';
    stream.on('text', (part) => (text += part));
    assert.equal((await stream.finalMessage()).content[0].text, text);
  },
  async anthropic_count_tokens() {
    assert.ok((await claude.messages.countTokens({ model: 'gemma', messages: ASK })).input_tokens > 4);
  },
  async anthropic_tools() {
    const asked = { model: 'tools', max_tokens: 512, tools: claudeTools };
    const { content } = await claude.messages.stream({ ...asked, messages: ASK }).finalMessage();
    assert.deepEqual(content.map((call) => call.name), ['weather', 'clock']);
    assert.equal(typeof content[0].input.city, 'string');
    const results = content.map((call) => ({ type: 'tool_result', tool_use_id: call.id, content: 'fine' }));
    const turns = [...ASK, { role: 'assistant', content }, { role: 'user', content: results }];
    assert.equal((await claude.messages.create({ ...asked, messages: turns })).stop_reason, 'end_turn');
  },
  async anthropic_thinking() {
    for (const model of ['thinks', 'thinks-vllm']) {
      const thinking = { type: 'enabled', budget_tokens: 1024 };
      const stream = claude.messages.stream({ model, messages: ASK, max_tokens: 2048, thinking });
      assert.deepEqual((await stream.finalMessage()).content.map((block) => block.type), ['thinking', 'text']);
    }
  },
  async anthropic_models() {
    assert.equal((await claude.models.retrieve('gemma')).id, 'gemma');
  },
  async anthropic_errors() {
    const ask = (options) => claude.messages.create({ model: 'gemma', messages: ASK, max_tokens: 8, ...options });
    const missing = await raises(Anthropic.NotFoundError, () => ask({ model: 'nope' }));
    assert.equal(missing.error.error.type, 'not_found_error');
    await raises(Anthropic.BadRequestError, () => ask({ messages: [] }));
    await raises(Anthropic.InternalServerError, () => ask({ model: 'ill' }), 'the script says so');
    const stranger = claude.withOptions({ apiKey: 'sk-wrong' });
    await raises(Anthropic.AuthenticationError, () => stranger.models.retrieve('gemma'));
  },
  async anthropic_error_in_a_stream() {
    const stream = await claude.messages.create({ model: 'cut', messages: ASK, max_tokens: 64, stream: true });
    await raises(Anthropic.APIError, async () => { for await (const _ of stream); }, 'broke the connection');
  },
});
