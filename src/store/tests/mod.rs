//! One suite for both databases: each test is a function of an empty database, and runs on SQLite
//! and on Postgres.

mod accounts;
mod caa;
mod certificates;
mod challenges;
mod corrupt;
mod crls;
mod database;
mod external_accounts;
mod fixture;
mod issuance;
mod ledger;
mod limits;
mod orders;
mod reuse;
mod revocations;
mod schema;
mod waiting;
mod work;

macro_rules! suite {
    ($($area:ident: $($test:ident),+;)+) => {
        suite!(@on sqlite; $($area: $($test),+;)+);
        suite!(@on postgres; $($area: $($test),+;)+);
    };
    (@on $database:ident; $($area:ident: $($test:ident),+;)+) => {
        mod $database {
            $(mod $area {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let database = harness::Database::$database();
                    crate::store::tests::$area::$test(&database).await;
                })+
            })+
        }
    };
}

suite! {
    accounts:
        of_concurrent_registrations_of_one_key_one_creates_the_account,
        a_key_has_one_account_with_each_ca,
        an_account_is_invisible_to_another_ca,
        an_update_keeps_what_is_not_given,
        an_account_is_deactivated_once_and_not_updated_after,
        a_key_is_changed_once_for_each_key_it_had,
        a_key_that_has_an_account_is_not_taken_from_it,
        of_concurrent_changes_to_one_key_one_is_done,
        a_nonce_is_spent_for_an_account_with_the_key_it_has_now,
        a_deactivated_account_leaves_no_work_and_no_status_that_could_go_on,
        work_that_a_deactivation_did_not_see_settles_nothing,
        an_order_that_is_valid_stays_so_when_its_account_is_deactivated,
        a_challenge_is_validated_with_the_key_it_was_begun_with,
        a_nonce_is_spent_once,
        only_who_shares_the_database_shares_the_nonces,
        of_concurrent_spenders_of_a_nonce_one_spends_it,
        only_nonces_that_expired_long_ago_are_forgotten,
        two_stores_on_one_database_share_their_keys;
    external_accounts:
        an_external_account_is_given_back_as_it_was_made,
        a_key_binds_one_account_and_is_erased_with_it,
        of_concurrent_accounts_a_key_binds_one,
        a_reusable_key_binds_accounts_until_it_is_revoked,
        an_expired_or_foreign_key_binds_nothing,
        external_accounts_are_listed_in_the_order_of_their_creation,
        an_external_account_that_cannot_be_is_corrupt;
    orders:
        an_order_of_100_identifiers_keeps_their_order,
        an_order_is_invisible_to_another_ca,
        the_facts_decide_the_status,
        a_list_of_orders_is_paged_also_where_all_are_of_one_instant,
        a_list_of_orders_leaves_out_those_that_are_invalid,
        a_second_order_with_the_same_id_is_a_conflict_and_leaves_nothing;
    reuse:
        only_authorizations_that_are_valid_and_last_are_found,
        an_order_with_valid_authorizations_is_ready_at_once,
        an_order_that_names_a_deactivated_or_foreign_authorization_leaves_nothing,
        nothing_is_planned_with_an_authorization_that_has_expired,
        what_an_order_asks_for_is_given_back,
        one_authorization_stands_for_several_names_below_it,
        no_authorization_is_ever_shared_across_accounts_or_cas,
        only_an_order_that_is_valid_has_replaced_a_certificate,
        orders_are_listed_newest_first_by_ca_account_and_id;
    challenges:
        a_challenge_is_begun_once,
        who_waits_for_a_proof_is_told_what_the_authorization_says,
        a_response_is_kept_until_its_challenge_is_concluded,
        a_challenge_of_a_decided_or_deactivated_authorization_is_not_begun,
        of_concurrent_beginnings_one_wins_and_one_piece_of_work_exists,
        of_concurrent_beginnings_that_are_concluded_one_wins,
        what_cannot_begin_is_not_concluded,
        a_worker_finds_what_it_validates,
        a_conclusion_is_visible_to_another_store_at_once,
        of_two_challenges_that_end_together_exactly_one_decides,
        a_lost_lease_concludes_nothing,
        a_deactivated_authorization_is_not_concluded,
        an_authorization_is_deactivated_once,
        a_retry_is_noted_and_due_in_one_step,
        a_lost_lease_notes_no_retry;
    caa:
        the_newest_permission_counts_unless_a_refusal_came_after,
        a_permission_is_of_one_account_one_name_and_one_method;
    work:
        only_what_is_due_is_claimed,
        at_most_the_limit_is_claimed,
        concurrent_claimers_never_get_the_same_piece,
        a_lapsed_lease_is_claimed_again_as_the_next_attempt,
        work_that_a_clock_put_far_ahead_is_fetched_back,
        postponed_work_is_claimed_when_it_is_due_again,
        work_that_is_handed_back_is_due_at_once_and_its_attempt_does_not_count,
        discarded_work_is_gone,
        a_lapsed_lease_neither_postpones_nor_discards,
        leases_of_a_process_before_lapse_at_once_on_sqlite_alone,
        what_is_taken_on_at_once_is_claimed_once_its_lease_has_lapsed,
        what_is_taken_on_at_once_can_be_put_off_and_handed_back,
        what_is_taken_on_at_once_and_put_off_is_claimed_when_it_is_due,
        what_is_taken_on_at_once_by_a_clock_put_far_ahead_is_fetched_back,
        what_a_process_before_had_taken_on_is_claimed_at_once_on_sqlite_alone,
        what_is_taken_on_at_once_ends_with_its_account,
        a_plan_that_is_taken_on_at_once_is_there_until_it_is_complete,
        work_of_one_kind_is_not_claimed_as_the_other;
    limits:
        an_account_places_so_many_orders_in_an_hour,
        orders_that_can_still_become_valid_are_pending,
        pending_authorizations_are_counted_with_the_new_ones,
        failures_are_counted_by_account_and_name_for_an_hour,
        accounts_are_counted_by_the_network_they_are_made_from,
        nobody_waits_for_all_that_another_has_asked_for,
        what_was_over_long_ago_is_forgotten,
        forgetting_goes_on_where_it_ended,
        rows_of_the_release_before_are_counted_as_far_as_they_can_be;
    waiting:
        a_waiter_returns_when_the_work_is_settled,
        a_waiter_sees_a_settlement_by_another_store,
        a_waiter_gives_up_when_its_time_has_passed,
        new_work_wakes_a_worker;
    issuance:
        a_certificate_is_planned_once_for_an_order,
        who_waits_for_an_order_is_told_that_it_has_the_planned_certificate,
        who_waits_for_an_order_that_is_given_up_reads_why,
        of_concurrent_plans_one_wins,
        nothing_is_planned_for_an_order_that_is_not_ready,
        nothing_is_planned_after_a_deactivation,
        the_plan_is_given_back_as_it_was_made,
        a_plan_with_a_serial_that_was_used_leaves_nothing,
        an_issuance_is_completed_once,
        an_issuance_that_failed_is_not_completed,
        an_issuance_that_is_complete_does_not_fail,
        nothing_is_completed_after_an_authorization_was_deactivated,
        a_lost_lease_neither_completes_nor_fails,
        of_concurrent_workers_one_completes;
    certificates:
        a_certificate_is_shown_once_it_is_complete_and_only_by_its_ca,
        a_certificate_keeps_the_chain_it_was_issued_below,
        an_own_certificate_is_kept_and_never_shown,
        an_own_certificate_is_completed_once;
    revocations:
        a_certificate_is_revoked_once_and_a_crl_is_asked_for,
        of_concurrent_revocations_one_wins,
        a_certificate_is_found_by_its_serial_with_its_revocation,
        certificates_are_listed_newest_first_page_by_page,
        only_a_valid_authorization_of_the_account_for_the_very_name_counts,
        what_is_over_and_done_with_is_left_out;
    crls:
        a_crl_is_planned_and_published_under_a_lease_alone,
        numbers_go_up_whatever_becomes_of_the_crls,
        a_crl_that_was_asked_for_meanwhile_is_due_again,
        a_scheduled_crl_is_on_the_list_once,
        crls_of_issuers_that_cannot_sign_are_left_to_others,
        old_crls_keep_their_numbers_and_lose_their_bytes;
    ledger:
        a_decision_and_its_entry_are_there_together_or_not_at_all,
        what_is_pending_is_neither_changed_nor_deleted,
        of_several_sealers_each_entry_gets_one_place,
        one_instance_seals_until_it_leaves_or_its_time_is_up,
        nothing_is_sealed_where_an_entry_was_taken_away;
    database:
        a_database_that_is_there_answers,
        a_required_statement_without_effect_undoes_the_others,
        a_failing_statement_undoes_the_others,
        of_64_concurrent_writers_each_gets_its_own_result,
        a_caller_that_goes_away_leaves_nothing_half_done,
        closing_waits_for_what_was_begun;
    schema:
        the_schema_is_known_before_and_after_migration,
        migrating_twice_is_fine,
        several_stores_migrate_at_once,
        a_newer_schema_is_left_alone;
    corrupt:
        an_account_with_broken_contacts_is_corrupt,
        an_authorization_with_a_name_no_order_can_have_is_corrupt,
        a_challenge_both_valid_and_failed_is_corrupt,
        a_challenge_with_a_broken_problem_is_corrupt,
        a_challenge_of_an_unknown_type_is_corrupt,
        an_order_with_a_broken_problem_is_corrupt;
}
