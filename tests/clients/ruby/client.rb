# Uses the library acme-client as programs do. What it needs comes from the environment: DIRECTORY,
# FOLDER for its keys and certificates, SHOWN for what the names show.
#
#     client.rb register | issue FILE CHALLENGE NAME... | revoke FILE | change-key | deactivate

require 'acme-client'
require 'ipaddr'

FOLDER, SHOWN = ENV.fetch('FOLDER'), ENV.fetch('SHOWN')
KEY_FILE = "#{FOLDER}/ruby-account.pem"

def client
  # Of an EC key, 2.0.9 leaves out the zeros that a coordinate begins with: one in 128 is refused.
  File.write(KEY_FILE, OpenSSL::PKey::RSA.new(2048).to_pem) unless File.exist?(KEY_FILE)
  client = Acme::Client.new(
    private_key: OpenSSL::PKey.read(File.read(KEY_FILE)),
    directory: ENV.fetch('DIRECTORY'),
    bad_nonce_retry: 3
  )
  client.new_account(contact: 'mailto:admin@example.test', terms_of_service_agreed: true)
  client
end

# Asks again until the block says that it is done.
def wait_until
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
  until yield
    raise 'it takes too long' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.1
  end
end

def ip?(name)
  IPAddr.new(name)
rescue IPAddr::InvalidAddressError
  nil
end

def prove(authorization, type)
  case type
  when 'http-01'
    challenge = authorization.http
    File.write("#{SHOWN}/http-01/#{challenge.token}", challenge.file_content)
  when 'dns-01'
    challenge = authorization.dns
    record = "#{challenge.record_name}.#{authorization.domain}"
    File.write("#{SHOWN}/txt/#{record}", "#{challenge.record_content}\n", mode: 'a')
  end
  challenge.request_validation
  wait_until { challenge.reload && challenge.status != 'pending' && challenge.status != 'processing' }
  raise "#{authorization.domain}: #{challenge.error}" unless challenge.status == 'valid'
end

def issue(file, type, *names)
  order = client.new_order(identifiers: names.map { |name| { type: ip?(name) ? 'ip' : 'dns', value: name } })
  order.authorizations.each { |authorization| prove(authorization, type) if authorization.status == 'pending' }
  order.finalize(csr: Acme::Client::CertificateRequest.new(names: names))
  wait_until { order.reload && order.status != 'processing' }
  File.write("#{FOLDER}/#{file}", order.certificate)
end

command, *rest = ARGV
case command
when 'register' then client
when 'issue' then issue(*rest)
when 'revoke' then client.revoke(certificate: File.read("#{FOLDER}/#{rest.first}"), reason: 4)
when 'change-key'
  key = OpenSSL::PKey::RSA.new(2048)
  client.account_key_change(new_private_key: key)
  File.write(KEY_FILE, key.to_pem)
when 'deactivate' then client.account_deactivate
else abort "no #{command} here"
end
