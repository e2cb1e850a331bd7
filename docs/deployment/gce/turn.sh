#!/bin/bash
# Start-up script of a TURN server on Debian: coturn with logins that expire, and a certificate for TLS. The instance's
# attributes: `turn-domain`, its host name; `turn-certificate-email`; `turn-peers`, the network of the media nodes.
set -euo pipefail

metadata() { curl --silent --fail --retry 5 --header 'Metadata-Flavor: Google' "http://169.254.169.254/computeMetadata/v1/$1"; }
json_text() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
secret() {
  curl --silent --fail --retry 5 --header "Authorization: Bearer $token" \
    "https://secretmanager.googleapis.com/v1/projects/$project/secrets/$1/versions/latest:access" \
    | tr -d '\n' | json_text data | base64 --decode
}

project=$(metadata project/project-id)
domain=$(metadata instance/attributes/turn-domain)
email=$(metadata instance/attributes/turn-certificate-email || true)
peers=$(metadata instance/attributes/turn-peers)
private=$(metadata instance/network-interfaces/0/ip)
public=$(metadata instance/network-interfaces/0/access-configs/0/external-ip)
token=$(metadata instance/service-accounts/default/token | json_text access_token)

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends coturn certbot

# First and last address of a network such as 10.10.0.0/16, as coturn wants it.
range() {
  local address=${1%/*} bits=${1#*/} a b c d first
  IFS=. read -r a b c d <<<"$address"
  first=$(((a << 24 | b << 16 | c << 8 | d) & (0xffffffff << (32 - bits))))
  local last=$((first | (1 << (32 - bits)) - 1)) number
  for number in "$first" "$last"; do
    echo "$((number >> 24 & 255)).$((number >> 16 & 255)).$((number >> 8 & 255)).$((number & 255))"
  done | paste --serial --delimiters=-
}

install --owner=turnserver --group=turnserver --mode=600 /dev/stdin /etc/turnserver.conf <<CONFIGURATION
realm=$domain
listening-ip=$private
relay-ip=$private
external-ip=$public/$private
listening-port=3478
tls-listening-port=5349
min-port=49152
max-port=65535
fingerprint
use-auth-secret
static-auth-secret=$(secret voxgender-turn-secret)
# Relays lead to media nodes, at their private addresses and at public ones, which come and go. To nothing else that is
# private: not to this machine, its metadata, or other networks. (A range of IPv6 addresses would shut out IPv4 as well; there
# is no IPv6 relay here.)
denied-peer-ip=0.0.0.0-0.255.255.255
denied-peer-ip=10.0.0.0-10.255.255.255
denied-peer-ip=100.64.0.0-100.127.255.255
denied-peer-ip=127.0.0.0-127.255.255.255
denied-peer-ip=169.254.0.0-169.254.255.255
denied-peer-ip=172.16.0.0-172.31.255.255
denied-peer-ip=192.168.0.0-192.168.255.255
allowed-peer-ip=$(range "$peers")
no-multicast-peers
no-cli
no-tlsv1
no-tlsv1_1
# A call is 64 kbit/s at most: enough for it, and no use to anyone else. Bytes a second.
max-bps=64000
user-quota=4
total-quota=2000
cert=/etc/coturn/certs/cert.pem
pkey=/etc/coturn/certs/key.pem
no-stdout-log
syslog
CONFIGURATION

# coturn may not read the certificate where it is kept, so it gets a copy with each new one.
install --directory --mode=755 /etc/letsencrypt/renewal-hooks/deploy
install --mode=755 /dev/stdin /etc/letsencrypt/renewal-hooks/deploy/coturn <<HOOK
#!/bin/sh
set -e
install -D --owner=turnserver --mode=600 /etc/letsencrypt/live/$domain/fullchain.pem /etc/coturn/certs/cert.pem
install -D --owner=turnserver --mode=600 /etc/letsencrypt/live/$domain/privkey.pem /etc/coturn/certs/key.pem
systemctl restart coturn
HOOK

# Without a certificate (its name does not lead here yet, say) there is TURN over UDP and TCP, and none over TLS.
account=(--register-unsafely-without-email)
[ -n "$email" ] && account=(--email "$email")
if certbot certonly --non-interactive --agree-tos --standalone --keep-until-expiring "${account[@]}" --domain "$domain"; then
  /etc/letsencrypt/renewal-hooks/deploy/coturn
fi
systemctl enable --now coturn
