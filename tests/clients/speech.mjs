// The openai package for JavaScript against a running server: prints one JSON object of what happened.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const input = "The quick brown fox jumps over the lazy dog.";
const report = { formats: {}, errors: {} };

for (const response_format of ["mp3", "wav", "flac", "opus", "aac", "pcm"]) {
  const reply = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input, response_format });
  const data = Buffer.from(await reply.arrayBuffer());
  report.formats[response_format] = { type: reply.headers.get("content-type"), audio: data.toString("base64") };
}

const streamed = await client.audio.speech.create({
  model: "tts-1", voice: "nova", input: `${input} `.repeat(20), response_format: "pcm",
});
report.pieces = 0;
report.bytes = 0;
for await (const piece of streamed.body) {
  report.pieces += 1;
  report.bytes += piece.length;
}

const events = await client.audio.speech.create({
  model: "tts-1", voice: "nova", input, response_format: "pcm", stream_format: "sse",
});
report.events = (await events.text()).split("\n\n").filter(Boolean).map((line) => JSON.parse(line.slice(6)).type);

report.models = (await client.models.list()).data.map((model) => model.id);

const attempts = {
  voice: { model: "tts-1", voice: "nobody", input },
  input: { model: "tts-1", voice: "alloy", input: "" },
  model: { model: "gpt-7", voice: "alloy", input },
};
for (const [name, body] of Object.entries(attempts)) {
  try {
    await client.audio.speech.create(body);
  } catch (error) {
    report.errors[name] = { kind: error.constructor.name, status: error.status, param: error.param };
  }
}
console.log(JSON.stringify(report));
