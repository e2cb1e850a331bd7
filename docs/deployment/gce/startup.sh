#!/bin/bash
# Start-up script of a media node on Container-Optimized OS: opens its ports, fetches what it shares with signaling, and
# keeps the container running. The instance's attribute `voxgender-image` names the image. Runs again with each boot.
set -euo pipefail

readonly UDP_PORTS=20000-29999 HTTP_PORT=8080
# As many calls as a machine with 2 cores holds: docs/deployment/sizing.md.
readonly MAX_SESSIONS=70
# The system gives a machine that is stopped some 90 seconds. Those who call move within a few.
readonly DRAIN_S=60 STOP_S=80
readonly STATE=/var/lib/voxgender

metadata() { curl --silent --fail --retry 5 --header 'Metadata-Flavor: Google' "http://169.254.169.254/computeMetadata/v1/$1"; }
json_text() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
secret() {
  curl --silent --fail --retry 5 --header "Authorization: Bearer $token" \
    "https://secretmanager.googleapis.com/v1/projects/$project/secrets/$1/versions/latest:access" \
    | tr -d '\n' | json_text data | base64 --decode
}

project=$(metadata project/project-id)
zone=$(metadata instance/zone)
zone=${zone##*/}
address=$(metadata instance/network-interfaces/0/ip)
image=$(metadata instance/attributes/voxgender-image)
token=$(metadata instance/service-accounts/default/token | json_text access_token)

# This system's own firewall lets nothing in but SSH. Who may reach the HTTP port, the network's firewall says.
iptables --wait --append INPUT --protocol udp --dport "${UDP_PORTS/-/:}" --jump ACCEPT
iptables --wait --append INPUT --protocol tcp --dport "$HTTP_PORT" --jump ACCEPT

umask 077
mkdir -p "$STATE"
cat >"$STATE/environment" <<ENVIRONMENT
VOXGENDER_PORT=$HTTP_PORT
VOXGENDER_NODE_ADDRESS=http://$address:$HTTP_PORT
VOXGENDER_ICE_ADDRESS=$address
VOXGENDER_ADVERTISE_ADDRESS=gcp
VOXGENDER_UDP_PORTS=$UDP_PORTS
VOXGENDER_MAX_SESSIONS=$MAX_SESSIONS
VOXGENDER_DRAIN_TIMEOUT_S=$DRAIN_S
VOXGENDER_REGION=${zone%-*}
VOXGENDER_REGISTRY=$(secret voxgender-registry)
VOXGENDER_SECRET=$(secret voxgender-secret)
ENVIRONMENT

cat >/etc/systemd/system/voxgender.service <<UNIT
[Unit]
Description=voxgender media node
Requires=docker.service
After=docker.service network-online.target

[Service]
Environment=HOME=$STATE
ExecStartPre=-/usr/bin/docker rm --force voxgender
ExecStartPre=/usr/bin/docker-credential-gcr configure-docker --registries=${image%%/*}
ExecStart=/usr/bin/docker run --name voxgender --network host --ulimit nofile=65536 --env-file $STATE/environment $image
ExecStop=/usr/bin/docker stop --time $STOP_S voxgender
TimeoutStartSec=600
TimeoutStopSec=$((STOP_S + 5))
Restart=always
RestartSec=2
UNIT

systemctl daemon-reload
systemctl restart voxgender.service
