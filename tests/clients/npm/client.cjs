// Uses the package acme-client as programs do. What it needs comes from the environment: DIRECTORY,
// FOLDER for its keys and certificates, SHOWN for what the names show. A CHALLENGE is http-01,
// dns-01 or tls-alpn-01:PORT.
//
//     client.cjs register [KID:HMAC-KEY] | issue FILE CHALLENGE NAME... | revoke FILE | change-key | deactivate

const acme = require('acme-client');
const fs = require('fs');
const net = require('net');
const tls = require('tls');

const { DIRECTORY, FOLDER, SHOWN } = process.env;
const keyFile = `${FOLDER}/npm-account.pem`;
const read = (file) => fs.readFileSync(`${FOLDER}/${file}`);

async function client(externalAccountBinding = {}) {
    if (!fs.existsSync(keyFile)) {
        fs.writeFileSync(keyFile, await acme.crypto.createPrivateEcdsaKey('P-384'));
    }
    const client = new acme.Client({
        directoryUrl: DIRECTORY,
        accountKey: fs.readFileSync(keyFile),
        externalAccountBinding,
        backoffMin: 200,
        backoffMax: 1000,
    });
    await client.createAccount({
        termsOfServiceAgreed: true,
        contact: ['mailto:admin@example.test'],
    });
    return client;
}

// Shows what a challenge asks for.
async function show(authorization, challenge, keyAuthorization, port) {
    const name = authorization.identifier.value;
    switch (challenge.type) {
    case 'http-01':
        return fs.writeFileSync(`${SHOWN}/http-01/${challenge.token}`, keyAuthorization);
    case 'dns-01':
        return fs.appendFileSync(`${SHOWN}/txt/_acme-challenge.${name}`, `${keyAuthorization}\n`);
    case 'tls-alpn-01': {
        const [key, cert] = await acme.crypto.createAlpnCertificate(authorization, keyAuthorization);
        const server = tls.createServer({ key, cert, ALPNProtocols: ['acme-tls/1'] });
        server.unref();
        return new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
    }
    default:
        throw new Error(`no ${challenge.type} here`);
    }
}

const commands = {
    async register(external) {
        const [kid, hmacKey] = (external ?? '').split(':');
        await client(kid ? { kid, hmacKey } : {});
    },

    async issue(file, how, ...names) {
        const [type, port] = how.split(':');
        const acmeClient = await client();
        const identifiers = names.map((value) => ({ type: net.isIP(value) ? 'ip' : 'dns', value }));
        const order = await acmeClient.createOrder({ identifiers });
        for (const authorization of await acmeClient.getAuthorizations(order)) {
            if (authorization.status === 'valid') {
                continue;
            }
            const challenge = authorization.challenges.find((challenge) => challenge.type === type);
            const proof = await acmeClient.getChallengeKeyAuthorization(challenge);
            await show(authorization, challenge, proof, port);
            await acmeClient.completeChallenge(challenge);
            await acmeClient.waitForValidStatus(challenge);
        }
        const [, csr] = await acme.crypto.createCsr(
            { altNames: names },
            await acme.crypto.createPrivateEcdsaKey(),
        );
        const finalized = await acmeClient.finalizeOrder(order, csr);
        fs.writeFileSync(`${FOLDER}/${file}`, await acmeClient.getCertificate(finalized));
    },

    async revoke(file) {
        await (await client()).revokeCertificate(read(file), { reason: 4 });
    },

    async 'change-key'() {
        const acmeClient = await client();
        const key = await acme.crypto.createPrivateRsaKey(2048);
        await acmeClient.updateAccountKey(key);
        fs.writeFileSync(keyFile, key);
    },

    async deactivate() {
        await (await client()).updateAccount({ status: 'deactivated' });
    },
};

const [command, ...rest] = process.argv.slice(2);
commands[command](...rest).then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
});
