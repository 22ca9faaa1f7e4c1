// Signs as senders in Node do: node webhooks.mjs LIBRARY SECRET ID TIMESTAMP BODY.
const [library, secret, id, stamp, body] = process.argv.slice(2);
const { Webhook } = (await import(library)).default;
process.stdout.write(new Webhook(secret).sign(id, new Date(stamp * 1000), body));
