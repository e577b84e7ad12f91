"""The part of etcd's gRPC interface that is used here, as a table: messages with their fields, enums, services.

Written after etcd 3.5's documented API (https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/), with ``dbSizeQuota`` of
3.6; later servers add fields and take none away. A field is ``number name type``: ``*`` before a type means repeated,
``@`` after it the name of its oneof. Names without a dot live in the package ``etcdserverpb``.

A method is ``name request response``: ``~`` means a stream. Messages are named without the ``Request`` and ``Response``
that they end in; a single one stands for both, none for those named like the method. Every ``Response`` begins with the
field ``1 header ResponseHeader``, which is left out here, as are messages without further fields.
"""

from __future__ import annotations

MESSAGES: dict[str, str] = {
    "mvccpb.KeyValue": """
        1 key bytes, 2 create_revision int64, 3 mod_revision int64, 4 version int64, 5 value bytes, 6 lease int64""",
    "mvccpb.Event": "1 type mvccpb.Event.EventType, 2 kv mvccpb.KeyValue, 3 prev_kv mvccpb.KeyValue",
    "ResponseHeader": "1 cluster_id uint64, 2 member_id uint64, 3 revision int64, 4 raft_term uint64",
    # keys
    "RangeRequest": """
        1 key bytes, 2 range_end bytes, 3 limit int64, 4 revision int64, 5 sort_order RangeRequest.SortOrder,
        6 sort_target RangeRequest.SortTarget, 7 serializable bool, 8 keys_only bool, 9 count_only bool,
        10 min_mod_revision int64, 11 max_mod_revision int64, 12 min_create_revision int64,
        13 max_create_revision int64""",
    "RangeResponse": "2 kvs *mvccpb.KeyValue, 3 more bool, 4 count int64",
    "PutRequest": "1 key bytes, 2 value bytes, 3 lease int64, 4 prev_kv bool, 5 ignore_value bool, 6 ignore_lease bool",
    "PutResponse": "2 prev_kv mvccpb.KeyValue",
    "DeleteRangeRequest": "1 key bytes, 2 range_end bytes, 3 prev_kv bool",
    "DeleteRangeResponse": "2 deleted int64, 3 prev_kvs *mvccpb.KeyValue",
    "RequestOp": """
        1 request_range RangeRequest@request, 2 request_put PutRequest@request,
        3 request_delete_range DeleteRangeRequest@request, 4 request_txn TxnRequest@request""",
    "ResponseOp": """
        1 response_range RangeResponse@response, 2 response_put PutResponse@response,
        3 response_delete_range DeleteRangeResponse@response, 4 response_txn TxnResponse@response""",
    "Compare": """
        1 result Compare.CompareResult, 2 target Compare.CompareTarget, 3 key bytes, 4 version int64@target_union,
        5 create_revision int64@target_union, 6 mod_revision int64@target_union, 7 value bytes@target_union,
        8 lease int64@target_union, 64 range_end bytes""",
    "TxnRequest": "1 compare *Compare, 2 success *RequestOp, 3 failure *RequestOp",
    "TxnResponse": "2 succeeded bool, 3 responses *ResponseOp",
    "CompactionRequest": "1 revision int64, 2 physical bool",
    # watches
    "WatchRequest": """
        1 create_request WatchCreateRequest@request_union, 2 cancel_request WatchCancelRequest@request_union""",
    "WatchCreateRequest": """
        1 key bytes, 2 range_end bytes, 3 start_revision int64, 4 progress_notify bool,
        5 filters *WatchCreateRequest.FilterType, 6 prev_kv bool, 7 watch_id int64, 8 fragment bool""",
    "WatchCancelRequest": "1 watch_id int64",
    "WatchResponse": """
        2 watch_id int64, 3 created bool, 4 canceled bool, 5 compact_revision int64, 6 cancel_reason string,
        7 fragment bool, 11 events *mvccpb.Event""",
    # leases
    "LeaseGrantRequest": "1 TTL int64, 2 ID int64",
    "LeaseGrantResponse": "2 ID int64, 3 TTL int64, 4 error string",
    "LeaseRevokeRequest": "1 ID int64",
    "LeaseKeepAliveRequest": "1 ID int64",
    "LeaseKeepAliveResponse": "2 ID int64, 3 TTL int64",
    "LeaseTimeToLiveRequest": "1 ID int64, 2 keys bool",
    "LeaseTimeToLiveResponse": "2 ID int64, 3 TTL int64, 4 grantedTTL int64, 5 keys *bytes",
    "LeaseStatus": "1 ID int64",
    "LeaseLeasesResponse": "2 leases *LeaseStatus",
    # members
    "Member": "1 ID uint64, 2 name string, 3 peerURLs *string, 4 clientURLs *string, 5 isLearner bool",
    "MemberAddRequest": "1 peerURLs *string, 2 isLearner bool",
    "MemberAddResponse": "2 member Member, 3 members *Member",
    "MemberRemoveRequest": "1 ID uint64",
    "MemberRemoveResponse": "2 members *Member",
    "MemberUpdateRequest": "1 ID uint64, 2 peerURLs *string",
    "MemberUpdateResponse": "2 members *Member",
    "MemberListRequest": "1 linearizable bool",
    "MemberListResponse": "2 members *Member",
    "MemberPromoteRequest": "1 ID uint64",
    "MemberPromoteResponse": "2 members *Member",
    # maintenance
    "AlarmRequest": "1 action AlarmRequest.AlarmAction, 2 memberID uint64, 3 alarm AlarmType",
    "AlarmMember": "1 memberID uint64, 2 alarm AlarmType",
    "AlarmResponse": "2 alarms *AlarmMember",
    "StatusResponse": """
        2 version string, 3 dbSize int64, 4 leader uint64, 5 raftIndex uint64, 6 raftTerm uint64,
        7 raftAppliedIndex uint64, 8 errors *string, 9 dbSizeInUse int64, 10 isLearner bool, 12 dbSizeQuota int64""",
    "HashResponse": "2 hash uint32",
    "HashKVRequest": "1 revision int64",
    "HashKVResponse": "2 hash uint32, 3 compact_revision int64",
    "MoveLeaderRequest": "1 targetID uint64",
    "SnapshotResponse": "2 remaining_bytes uint64, 3 blob bytes",
    # authentication
    "AuthenticateRequest": "1 name string, 2 password string",
    "AuthenticateResponse": "2 token string",
    # users and roles; the two messages without "Auth" belong to etcd's package authpb, which is not seen on the wire
    "UserAddOptions": "1 no_password bool",
    "Permission": "1 permType Permission.Type, 2 key bytes, 3 range_end bytes",
    "AuthStatusResponse": "2 enabled bool, 3 authRevision uint64",
    "AuthUserAddRequest": "1 name string, 2 password string, 3 options UserAddOptions",
    "AuthUserGetRequest": "1 name string",
    "AuthUserGetResponse": "2 roles *string",
    "AuthUserListResponse": "2 users *string",
    "AuthUserDeleteRequest": "1 name string",
    "AuthUserChangePasswordRequest": "1 name string, 2 password string",
    "AuthUserGrantRoleRequest": "1 user string, 2 role string",
    "AuthUserRevokeRoleRequest": "1 name string, 2 role string",
    "AuthRoleAddRequest": "1 name string",
    "AuthRoleGetRequest": "1 role string",
    "AuthRoleGetResponse": "2 perm *Permission",
    "AuthRoleListResponse": "2 roles *string",
    "AuthRoleDeleteRequest": "1 role string",
    "AuthRoleGrantPermissionRequest": "1 name string, 2 perm Permission",
    "AuthRoleRevokePermissionRequest": "1 role string, 2 key bytes, 3 range_end bytes",
}

ENUMS: dict[str, str] = {
    "mvccpb.Event.EventType": "PUT DELETE",
    "RangeRequest.SortOrder": "NONE ASCEND DESCEND",
    "RangeRequest.SortTarget": "KEY VERSION CREATE MOD VALUE",
    "Compare.CompareResult": "EQUAL GREATER LESS NOT_EQUAL",
    "Compare.CompareTarget": "VERSION CREATE MOD VALUE LEASE",
    "WatchCreateRequest.FilterType": "NOPUT NODELETE",
    "AlarmRequest.AlarmAction": "GET ACTIVATE DEACTIVATE",
    "AlarmType": "NONE NOSPACE CORRUPT",
    "Permission.Type": "READ WRITE READWRITE",
}
"""The names of an enum, numbered from 0."""

SERVICES: dict[str, str] = {
    "KV": "Range, Put, DeleteRange, Txn, Compact Compaction",
    "Watch": "Watch ~Watch",
    "Lease": "LeaseGrant, LeaseRevoke, LeaseKeepAlive ~LeaseKeepAlive, LeaseTimeToLive, LeaseLeases",
    "Cluster": "MemberAdd, MemberRemove, MemberUpdate, MemberList, MemberPromote",
    "Maintenance": "Alarm, Status, Defragment, Hash, HashKV, MoveLeader, Snapshot Snapshot ~Snapshot",
    "Auth": """
        Authenticate, AuthEnable, AuthDisable, AuthStatus, UserAdd AuthUserAdd, UserGet AuthUserGet,
        UserList AuthUserList, UserDelete AuthUserDelete, UserChangePassword AuthUserChangePassword,
        UserGrantRole AuthUserGrantRole, UserRevokeRole AuthUserRevokeRole, RoleAdd AuthRoleAdd, RoleGet AuthRoleGet,
        RoleList AuthRoleList, RoleDelete AuthRoleDelete, RoleGrantPermission AuthRoleGrantPermission,
        RoleRevokePermission AuthRoleRevokePermission""",
}
